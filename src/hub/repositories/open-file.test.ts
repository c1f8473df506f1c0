/** A checkpoint in one file: how its address is read, and how it is downloaded, cached and found again. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { startHubServer } from '../../../e2e/hub-server/server.js'
import type { HubServer } from '../../../e2e/hub-server/types.js'
import { MemoryStore } from '../cache/memory-store.js'
import { Hub } from '../hub.js'
import { isSingleFileAddress, openFile } from './open-file.js'

const settings = { retryBaseMs: 1, retryMaxMs: 2 }
let server: HubServer | undefined
afterEach(async () => {
  await server?.close()
  server = undefined
})

const text = async (source: { byteLength: number; read(range: { begin: number; end: number }): Promise<Uint8Array> }) =>
  new TextDecoder().decode(await source.read({ begin: 0, end: source.byteLength }))

async function start(): Promise<{ server: HubServer; hub: Hub }> {
  server = await startHubServer({ repositories: { 'a/b': { 'x.safetensors': 'weights', 'deep/y.safetensors': 'others' } } })
  return { server, hub: await Hub.open({ store: new MemoryStore(), settings }) }
}

describe('a file of the Hub', () => {
  it.each([
    ['blob/main/x.safetensors', 'x.safetensors', 'weights'],
    ['resolve/main/x.safetensors?download=true', 'x.safetensors', 'weights'],
    ['resolve/main/deep/y.safetensors', 'deep/y.safetensors', 'others'],
  ])('is opened by the address %s', async (address, path, content) => {
    const { server: started, hub } = await start()
    const file = await openFile(hub, `${started.url}/a/b/${address}`, { endpoint: started.url })
    expect(file.path).toBe(path)
    expect(file.repository).toMatchObject({ id: 'a/b', revision: expect.stringMatching(/^[0-9a-f]{40}$/) as string })
    expect(await text(await file.repository.open(path))).toBe(content)
    file.repository.close()
  })
})

describe('a file of any other host', () => {
  it('is downloaded once, and found in the cache without the server', async () => {
    const { server: started, hub } = await start()
    const url = `${started.staticUrl('a/b')}x.safetensors?token=secret`
    const file = await openFile(hub, url)
    expect(file.path).toBe('x.safetensors')
    expect(file.repository.id).not.toContain('secret')
    expect(await file.repository.files()).toEqual([{ path: 'x.safetensors', size: 7 }])
    expect(await text(await file.repository.open('x.safetensors'))).toBe('weights')
    await expect(file.repository.open('y.safetensors')).rejects.toMatchObject({ code: 'file-not-found' })
    file.repository.close()
    started.dropConnections()
    await started.close()
    const again = await openFile(hub, url.replace('secret', 'other'))
    expect(await text(await again.repository.open('x.safetensors'))).toBe('weights')
    const models = await hub.cache.models()
    expect(models.map(({ endpoint }) => endpoint)).toEqual([file.repository.id])
    await again.repository.drop?.('x.safetensors')
  })

  it('does not send a token of the address to the host that it redirects to', async () => {
    const { server: started, hub } = await start()
    const asked: string[] = []
    const origin = createServer((request, response) => {
      asked.push(request.url ?? '')
      response.writeHead(307, { location: `${started.staticUrl('a/b')}x.safetensors?signature=1` }).end()
    })
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = origin.address() as AddressInfo
      const file = await openFile(hub, `http://127.0.0.1:${port}/api/download/models/5?token=secret`)
      expect(await text(await file.repository.open(file.path))).toBe('weights')
      file.repository.close()
    } finally {
      origin.close()
    }
    expect(asked).toContain('/api/download/models/5?token=secret')
    expect(started.log.filter(({ query }) => query === '?signature=1')).not.toEqual([])
    expect(started.log.filter(({ query, authorized }) => query.includes('secret') || authorized)).toEqual([])
    expect(JSON.stringify([await hub.cache.models(), await hub.store.records('')])).not.toContain('secret')
  })

  it('gets the ending of its format where its address has none', async () => {
    const { server: started, hub } = await start()
    expect((await openFile(hub, `${started.staticUrl('a/b')}api/download/models/128713`)).path).toBe('128713.safetensors')
  })

  it('asks the server again with the option revalidate', async () => {
    const { server: started, hub } = await start()
    const url = `${started.staticUrl('a/b')}x.safetensors`
    const first = await openFile(hub, url)
    await first.repository.open('x.safetensors')
    first.repository.close()
    started.setRepository('a/b', { 'x.safetensors': 'newer weights' })
    expect(await text(await (await openFile(hub, url)).repository.open('x.safetensors'))).toBe('weights')
    const file = await openFile(hub, url, { revalidate: true })
    expect(await text(await file.repository.open('x.safetensors'))).toBe('newer weights')
  })

  it('asks the server again after its content was refused, also if the server could not be reached meanwhile', async () => {
    const { server: started, hub } = await start()
    const url = `${started.staticUrl('a/b')}x.safetensors`
    const read = async (by = hub) => text(await (await openFile(by, url)).repository.open('x.safetensors'))
    expect(await read()).toBe('weights')
    await (await openFile(hub, url)).repository.revalidateOnNextOpen()
    started.setRepository('a/b', { 'x.safetensors': 'newer weights' })
    started.setFaults({ latencyMs: 86_400_000 })
    expect(await read(await Hub.open({ store: hub.store, settings: { ...settings, stallMs: 20 } }))).toBe('weights')
    started.setFaults({})
    expect(await read()).toBe('newer weights')
    started.clearLog()
    expect(await read()).toBe('newer weights')
    expect(started.log).toEqual([])
  })
})

it('a file from the disk is read in place', async () => {
  const { hub } = await start()
  const file = await openFile(hub, new File(['weights'], 'mine.safetensors'))
  expect(file.path).toBe('mine.safetensors')
  expect(await text(await file.repository.open(file.path))).toBe('weights')
})

it.each(['ftp://x.org/a.safetensors', 'not a url', 'https://me:pw@x.org/a.safetensors', ''])(
  '%j is no address',
  async (value) => {
    const { hub } = await start()
    await expect(openFile(hub, value)).rejects.toMatchObject({ code: 'bad-url' })
  },
)

describe('whether an address is that of a checkpoint in one file', () => {
  it.each([
    ['https://huggingface.co/a/b/blob/main/v1-5-pruned.safetensors', true],
    ['huggingface.co/a/b/resolve/main/deep/x.safetensors?download=true', true],
    ['https://x.org/models/mine.ckpt', true],
    ['./mine.safetensors', true],
    ['https://civitai.com/api/download/models/128713?type=Model&format=SafeTensor', true],
    ['https://huggingface.co/a/b/blob/main/unet/diffusion_pytorch_model.fp16.safetensors', false],
    ['https://x.org/m/unet/diffusion_pytorch_model-00001-of-00002.safetensors', false],
    ['https://x.org/m/model.safetensors', false],
    ['https://huggingface.co/a/b', false],
    ['owner/name.safetensors', false],
    ['./folder', false],
    ['https://civitai.com/models/4384', false],
  ])('%s: %j', (address, expected) => expect(isSingleFileAddress(address)).toBe(expected))
})
