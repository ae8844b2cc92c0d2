import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isOperationError } from '../errors.ts'
import { ACCOUNT, CLIENT, world, redirectBlobs, askForLayer } from '../testing/named-registry.ts'
import { askAs, openUpstreamFixture, QUICK_TIMES } from '../testing/upstream-fixture.ts'

test('no failure tells a secret: not a password, not a token, not the query of a signed URL', async () => {
  const failures: unknown[] = []
  const keep = async (work: Promise<unknown>) => {
    failures.push(
      await work.then(
        () => assert.fail('it succeeded'),
        (thrown: unknown) => thrown,
      ),
    )
  }
  for (const location of [
    'https://user:canary@127.0.0.1:1/canary?signature=canary',
    'http://canary.invalid/canary?signature=canary'.replace('canary.', 'cdn.'),
    'file:///canary',
    '/v2/team/app/blobs/x?canary',
  ]) {
    await using t = await openUpstreamFixture({
      upstream: (host) => ({ insecureHosts: [host], times: QUICK_TIMES, ...world({}) }),
    })
    redirectBlobs(t, location)
    await keep(askForLayer(t, CLIENT))
  }
  await using t = await openUpstreamFixture({
    server: { access: { scheme: 'bearer', ...ACCOUNT } },
  })
  for (const token of ['{"token":"canary\\n"}', '{"canary":1}', 'canary', '{"token":7}']) {
    t.server.hook = ({ url }, response) => {
      if (!url.startsWith('/token')) return false
      response.end(token)
      return true
    }
    await keep(t.upstream.resolve(t.repository, '1', askAs(CLIENT)))
  }
  assert.equal(failures.length, 8)
  for (const failure of failures) {
    assert.ok(isOperationError(failure), String(failure))
    const told = `${failure.message} ${failure.stack} ${JSON.stringify(failure)} ${String(failure.cause)}`
    assert.doesNotMatch(told, /canary|Ym9i/)
  }
})
