import { asRecord } from '../oci/descriptor.ts'
import { isTag } from '../oci/reference.ts'
import { faulty } from './failures.ts'
import type { HttpAnswer } from './http-answer.ts'

/** One page of tags, and the path of the next (distribution-spec, Listing Tags). */
export interface TagPage {
  readonly tags: readonly string[]
  readonly next: string | undefined
}

const MAX_PAGE_BYTES = 16 * 1024 * 1024

/** @throws OperationError UPSTREAM_FAULTY, UPSTREAM_UNREACHABLE */
export async function readTagPage(answer: HttpAnswer, origin: URL): Promise<TagPage> {
  const document = parseJson(answer, await answer.bytes(MAX_PAGE_BYTES))
  const tags = document['tags'] ?? []
  if (!Array.isArray(tags)) throw faulty(answer.url, 'its list of tags is none')
  return {
    tags: tags.filter((tag): tag is string => typeof tag === 'string' && isTag(tag)),
    next: nextPath(answer, origin),
  }
}

/** RFC 8288: `Link: </v2/…?last=x>; rel="next"`; only a path of the same registry is followed. */
function nextPath(answer: HttpAnswer, origin: URL): string | undefined {
  const link = answer.header('link') ?? ''
  const target = /<([^>]{1,4096})>\s*;[^,]*\brel="?next"?/i.exec(link)?.[1]
  if (target === undefined) return undefined
  const url = URL.canParse(target, answer.url.href) ? new URL(target, answer.url) : undefined
  // a registry behind a proxy may write another scheme or port than it was asked by: the path counts
  if (url?.hostname !== origin.hostname || !url.pathname.endsWith('/tags/list')) {
    throw faulty(answer.url, 'its next page of tags is at another place')
  }
  return `${url.pathname}${url.search}`
}

function parseJson(answer: HttpAnswer, bytes: Buffer): Record<string, unknown> {
  let document: Record<string, unknown> | undefined
  try {
    document = asRecord(JSON.parse(bytes.toString('utf8')))
  } catch {
    // told below, without the text
  }
  if (!document) throw faulty(answer.url, 'its list of tags is no JSON object')
  return document
}
