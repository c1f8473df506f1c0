import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Hub } from '../hub.js'
import { MemoryStore } from '../cache/memory-store.js'
import { openRepository } from './open-repository.js'

const commit = 'ab'.repeat(20)
let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})

/** Opens a repository whose tree API answers with these texts, page by page. If there are several, the last page links to itself. */
async function openListed(...pages: readonly string[]) {
  const requested: string[] = []
  const started = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://h')
    response.setHeader('content-type', 'application/json')
    if (pathname.includes('/revision/')) return response.end(JSON.stringify({ sha: commit }))
    const page = requested.push(pathname)
    if (pages.length > 1) response.setHeader('link', `<${pathname}?page=${page}>; rel="next"`)
    return response.end(pages[Math.min(page, pages.length) - 1])
  })
  server = started
  await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(started.address() as AddressInfo).port}`
  const hub = await Hub.open({ store: new MemoryStore() })
  return { requested, opening: openRepository(hub, 'owner/name', { endpoint }) }
}

const entry = (path: string) => ({ type: 'file', path, size: 1 })
const many = (count: number) => JSON.stringify(Array.from({ length: count }, (_, k) => entry(`unet/${k}.json`)))

describe('a listing', () => {
  it('may have 20,000 files', async () => {
    const repository = await (await openListed(many(20_000))).opening
    expect(await repository.files()).toHaveLength(20_000)
  })

  it.each(['half \ud83d.json', '../x.json', 'a\\b.json', '%2e%2e/x.json', 'line\nbreak.txt', '/x.json', ''])(
    'leaves out a file of the name %j, which cannot be requested',
    async (path) => {
      const page = JSON.stringify([entry('unet/config.json'), entry(path), entry('vae/config.json')])
      const repository = await (await openListed(page)).opening
      expect((await repository.files()).map((file) => file.path)).toEqual(['unet/config.json', 'vae/config.json'])
    },
  )

  it.each([
    ['is not JSON', '['],
    ['is not an array', '{}'],
    ['lists an impossible size', JSON.stringify([{ ...entry('x.json'), size: 9e15 }])],
    ['takes too much memory', `[${'{},'.repeat(400_000)}{}]`],
    ['is too long', `[${' '.repeat(10_000_000)}]`],
  ])('that %s is rejected', async (_, page) => {
    const { opening } = await openListed(page)
    await expect(opening).rejects.toMatchObject({ name: 'HubError', code: 'bad-answer' })
  })

  it.each([
    ['pages without files', 100, ['[]', '[]']],
    ['more files than a repository has', 3, [many(10_000), many(10_000)]],
    ['more bytes than a listing has', 3, [`[${' '.repeat(6_000_000)}]`, '[]', `[${' '.repeat(6_000_000)}]`]],
  ])('that does not end is rejected: %s', async (_, most, pages) => {
    const { requested, opening } = await openListed(...pages)
    await expect(opening).rejects.toMatchObject({
      code: 'bad-answer',
      details: { what: expect.stringContaining('the listing is longer than') as string },
    })
    expect(requested.length).toBe(most)
  })
})
