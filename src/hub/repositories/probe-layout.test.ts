import { afterEach, describe, expect, it } from 'vitest'
import { layoutNames as layout } from '../../checkpoint/layouts/open-layout.js'
import { readRepository } from '../../../e2e/fixture-repository.js'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer, HubServerOptions } from '../../../e2e/hub-server/types.js'
import { Hub } from '../hub.js'
import { MemoryStore } from '../cache/memory-store.js'
import { openRepository } from './open-repository.js'
import { probeLayout } from './probe-layout.js'

const settings = { retryBaseMs: 1, retryMaxMs: 2 }
let server: HubServer | undefined
afterEach(() => server?.close())

async function start(options: HubServerOptions): Promise<HubServer> {
  server = await startHubServer(options)
  return server
}

describe('a host without a listing', () => {
  it.each(['tiny-sd15', 'tiny-sd21', 'tiny-sdxl', 'tiny-sd3', 'tiny-sd35'])('is asked for the files of %s', async (fixture) => {
    const files = readRepository(`fixtures/${fixture}/repo`)
    const { log, url } = await start({ repositories: { 'a/b': files } })
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    const repository = await openRepository(hub, `${url}/static/a/b`, { layout })
    const expected = Object.entries(files).map(([path, bytes]) => ({ path, size: bytes.length }))
    // These files are not needed beside tokenizer.json and a tokenizer_config.json with `added_tokens_decoder`, so they are not requested.
    const unneeded = new Set(['tokenizer_3/spiece.model', 'tokenizer_3/special_tokens_map.json'])
    const needed = expected.filter(({ path }) => !unneeded.has(path))
    expect(await repository.files()).toEqual(needed.sort((a, b) => (a.path < b.path ? -1 : 1)))
    // A browser reports each missing file in its console: a missing file may be requested only if no other file says whether it exists.
    const open =
      /(?:^|\/)(?:files\.json|aquatint-asks.*|.*\.(?:fp16|bf16|non_ema)\.(?:safetensors|index\.json)|.*\.index\.(?:fp16|bf16|non_ema)\.json|tokenizer\.json|(?:model|diffusion_pytorch_model)\.safetensors|added_tokens\.json|special_tokens_map\.json)$/
    const missing = log.filter(({ status }) => status === 404).map(({ path }) => path)
    expect(missing.length).toBeGreaterThan(5)
    expect(missing.filter((path) => !open.test(path ?? ''))).toEqual([])
    expect(missing.length).toBeLessThan(40)
    expect(log.length).toBeLessThan(80)
    // Both present and missing files are remembered.
    const requested = log.length
    await repository.files()
    expect(log.length).toBe(requested)
  })

  it('gets no request when every file that was used is cached, and may be offline', async () => {
    const hub = await Hub.open({ store: new MemoryStore(), settings })
    await start({ repositories: { 'a/b': 'fixtures/tiny-sd15/repo' } })
    const base = server!.staticUrl('a/b')
    const first = await openRepository(hub, base, { layout })
    const files = await first.files()
    for (const { path } of files) await first.open(path)
    server!.clearLog()
    const again = await openRepository(hub, base, { layout })
    expect(await again.files()).toEqual(files)
    expect(server!.log).toEqual([])
    // A file that was not probed can still be opened.
    server!.setRepository('a/b', { 'notes.txt': 'text' })
    expect((await again.open('notes.txt')).byteLength).toBe(4)
  })

  it('is asked for a repository of one component', async () => {
    const files = { 'config.json': '{}', 'diffusion_pytorch_model.fp16.safetensors': 'x'.repeat(20), 'README.md': '' }
    await start({ repositories: { 'a/b': files } })
    const repository = await openRepository(await Hub.open({ store: null, settings }), server!.staticUrl('a/b'), { layout })
    expect((await repository.files()).map(({ path }) => path)).toEqual([
      'config.json',
      'diffusion_pytorch_model.fp16.safetensors',
    ])
  })

  it.each(['text/html', 'application/octet-stream'])('that answers everything with %s has no files', async (pageForAll) => {
    await start({ repositories: { 'a/b': {} }, faults: { pageForAll } })
    const repository = await openRepository(await Hub.open({ store: null, settings }), server!.staticUrl('a/b'), { layout })
    await expect(repository.files()).rejects.toMatchObject({ code: 'listing-unavailable' })
  })

  it.each(['text/html; charset=utf-8', 'application/octet-stream'])(
    'that answers missing files with its HTML page as %s does not have them',
    async (pageForAll) => {
      await start({ repositories: { 'a/b': 'fixtures/tiny-sd15/repo' }, faults: { pageForAll } })
      const repository = await openRepository(await Hub.open({ store: null, settings }), server!.staticUrl('a/b'), { layout })
      const paths = Object.keys(readRepository('fixtures/tiny-sd15/repo'))
      expect((await repository.files()).map(({ path }) => path)).toEqual(paths.sort())
    },
  )

  it('is probed again after a failure', async () => {
    await start({ repositories: { 'a/b': 'fixtures/tiny-sd15/repo' } })
    const repository = await openRepository(await Hub.open({ store: null, settings }), server!.staticUrl('a/b'), { layout })
    server!.setFaults({ rules: [{ match: { path: 'unet/config.json' }, status: 500 }] })
    await expect(repository.files()).rejects.toMatchObject({ code: 'server-error' })
    server!.setFaults({ rules: [{ match: { path: 'unet/config.json' }, status: 500, times: 2 }] })
    expect((await repository.files()).length).toBeGreaterThan(10)
  })
})

/** Probes a host that has every index file, with these contents. */
async function asking(index: unknown, shards: unknown) {
  const requested: string[] = []
  const files = await probeLayout(
    {
      sizeAtOnce: () => Promise.resolve(undefined),
      sizeOf: (path) => {
        requested.push(path)
        return Promise.resolve(/model_index.json$|\.index\.json$/.test(path) ? 1 : undefined)
      },
      json: (path) => Promise.resolve(path === 'model_index.json' ? index : { weight_map: shards }),
    },
    layout,
  )
  return { requested, files }
}

describe('the answers of a host', () => {
  it('cannot make the page request other paths, or send requests without end', async () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, k) => [`c${k}`, ['diffusers', 'UNet2DConditionModel']]))
    const { requested } = await asking(
      { ...many, '../up': ['diffusers', 'X'] },
      Object.fromEntries(Object.keys(many).map((key) => [key, `${key}.safetensors`])),
    )
    expect(requested.some((path) => path.includes('..'))).toBe(false)
    expect(requested.length).toBe(2000)
    const hostile = ['../x.safetensors', 'a/b.safetensors', 'https://h/x.safetensors', '%2e%2e/x.safetensors', 7, null, 'x.bin']
    const bad = await asking({ unet: ['diffusers', 'X'] }, Object.fromEntries(hostile.map((name, k) => [k, name])))
    expect(bad.requested.every((path) => /^(?:unet\/)?[\w.]+$/.test(path))).toBe(true)
  })

  it.each([[null], [[]], ['x'], [{ unet: 'x', vae: [null, null], a: [1, 2] }]])('may be any JSON: %j', async (index) => {
    expect((await asking(index, index)).files.map(({ path }) => path)).toEqual(['model_index.json'])
  })
})
