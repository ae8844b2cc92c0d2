/** What `npm run bench` measures, in this order; each is a file of this folder. */
export const MEASURES = [
  'metainfo',
  'seed-to-leecher',
  'encryption-cost',
  'first-byte',
  'crowd',
  'never-slower',
  'layer-order',
] as const

/** The results kept in the repository, one row of JSON a line. */
export const RESULTS_FILE = 'results.jsonl'
