/** Maps `items` with at most `limit` calls under way; results are in the order of the items. */
export async function mapConcurrently<Item, Result>(
  items: Iterable<Item>,
  limit: number,
  map: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  const queue = [...items].entries()
  const runner = async () => {
    for (const [index, item] of queue) results[index] = await map(item, index)
  }
  await Promise.all(Array.from({ length: Math.max(1, limit) }, runner))
  return results
}
