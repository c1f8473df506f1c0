/**
 * What the Hub says about a repository: that it was renamed, and why it is refused. The codes and reasons are those that
 * huggingface_hub distinguishes in `hf_raise_for_status`.
 */

import { afterEach, expect, test } from 'vitest'
import { startOddServer, type OddServer } from '../../../e2e/hub-server/odd-server.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { MemoryStore } from '../cache/memory-store.js'
import { Hub } from '../hub.js'
import { openRepository } from './open-repository.js'

const servers: (HubServer | OddServer)[] = []
afterEach(() => Promise.all(servers.splice(0).map((server) => server.close())))

const openHub = () => Hub.open({ store: new MemoryStore(), settings: { retryBaseMs: 1, retryMaxMs: 5 } })

test.each([301, 302, 307, 308])('a renamed repository is read under its new name, after status %i', async (status) => {
  const hub = await startHubServer({ repositories: { 'new/name': { 'model_index.json': '{"a":1}' } } })
  servers.push(hub)
  const former = await startOddServer({
    files: new Map(),
    answer: () => {},
    missing: (response, request) =>
      response.writeHead(status, { location: `${hub.url}${request.url?.replace('/old/name/', '/new/name/')}` }).end(),
  })
  servers.push(former)
  const repository = await openRepository(await openHub(), 'old/name', { endpoint: former.url.slice(0, -1) })
  expect(repository.revision).toBe(await hub.commit('new/name'))
  const source = await repository.open('model_index.json')
  expect(new TextDecoder().decode(await source.read({ begin: 0, end: 7 }))).toBe('{"a":1}')
})

test.each<[number, string, string, string, string]>([
  [401, 'GatedRepo', 'Access to model owner/name is restricted.', 'gated', 'accept its conditions on its page, URL/owner/name,'],
  [403, 'GatedRepo', 'Access to model owner/name is restricted.', 'gated', 'Request access on its page, URL/owner/name.'],
  [401, 'RepoNotFound', 'Repository not found', 'repository-not-found', 'does not exist, or it is private'],
  [404, 'RepoNotFound', 'Repository not found', 'repository-not-found', 'does not exist, or it is private'],
  [404, 'RevisionNotFound', 'Invalid rev id: main', 'revision-not-found', 'no branch, tag or commit "main"'],
  [404, 'EntryNotFound', 'Entry not found', 'file-not-found', 'has no file'],
  [401, '', 'Invalid credentials in Authorization header', 'forbidden', '(Invalid credentials in Authorization header)'],
  [401, '', 'Invalid username or password.', 'repository-not-found', 'does not exist, or it is private'],
  [403, '', 'Your token lacks the permission.', 'forbidden', '(status 403): Your token lacks the permission. Check'],
  [403, '', '', 'forbidden', '(status 403): no reason was given. Check'],
  [403, '', 'Access to this resource is disabled.', 'forbidden', '(status 403): Access to this resource is disabled. Check'],
])('status %i with the code "%s" and the reason "%s" is %s', async (status, reason, words, code, message) => {
  const hub = await startHubServer({
    repositories: { 'owner/name': { 'model_index.json': '{}' } },
    faults: { rules: [{ status, headers: { 'x-error-code': reason, 'x-error-message': words } }] },
  })
  servers.push(hub)
  const opening = openRepository(await openHub(), 'owner/name', { endpoint: hub.url })
  await expect(opening).rejects.toMatchObject({
    name: 'HubError',
    code,
    message: expect.stringContaining(message.replace('URL', hub.url)) as string,
  })
  // A second request would get the same answer, so the hub sends one only.
  expect(hub.log).toHaveLength(1)
})
