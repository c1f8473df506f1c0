/**
 * Promise 10 of docs/downloads.md: malicious configs, indexes and headers end with an error code before anything large is downloaded, stored
 * or allocated. The memory is that of the page's process as Linux counts it, without DevTools.
 */

import { renderersOf, watchPeak } from '../bench/renderer-memory.js'
import type { CachedModel } from '../src/hub/cache/cache-manager.js'
import { mebibyte } from './hub/files.js'
import { expect, test } from './hub/harness.js'
import { openUnwatchedPage, type UnwatchedPage } from './hub/unwatched-page.js'
import type { VirtualFile } from './hub-server/repositories.js'

const weights = 'diffusion_pytorch_model.safetensors'
const index = `${weights}.index.json`

/** A safetensors file of 64 MB: `length` in eight bytes, then `header`, then zeros. */
function fileWith(header: string, length = Buffer.byteLength(header)): VirtualFile {
  const head = Buffer.alloc(8 + Buffer.byteLength(header))
  head.writeBigUInt64LE(BigInt(length))
  head.write(header, 8)
  return {
    size: 64e6,
    read: (begin, end) =>
      Buffer.concat([head.subarray(begin, end), Buffer.alloc(end - Math.max(begin, Math.min(end, head.length)))]),
  }
}

const repeated = (item: string, bytes: number) => `${`${item},`.repeat(bytes / (item.length + 1) - 1)}${item}`
const tensor = (begin: number, end: number) => ({ dtype: 'F16', shape: [(end - begin) / 2], data_offsets: [begin, end] })

/** For each case, the one file of the folder, the error code of reading it, and in `fetched` the most bytes that the server may send. */
const cases = {
  'a config of 11 MB': { file: 'config.json', content: ' '.repeat(11e6), code: 'file-too-large', fetched: 0 },
  'a config full of objects': {
    file: 'config.json',
    content: `{"a":[${repeated('{}', 9_900_000)}]}`,
    code: 'json-too-complex',
    fetched: 10e6,
  },
  'a config full of keys that are indexes': {
    file: 'config.json',
    content: `{"a":[${repeated('{"1000":0}', 9_900_000)}]}`,
    code: 'json-too-complex',
    fetched: 10e6,
  },
  'a config that nests too deeply': { file: 'config.json', content: '['.repeat(5e6), code: 'json-depth', fetched: 5e6 },
  'an index of 13 MB': { file: index, content: ' '.repeat(13e6), code: 'file-too-large', fetched: 0 },
  'an index that names a file outside its folder': {
    file: index,
    content: '{"weight_map": {"a": "../../w.safetensors"}}',
    code: 'shard-name',
    fetched: 1000,
  },
  'an index that names half a surrogate pair': {
    file: index,
    content: String.raw`{"weight_map": {"a": "\ud800.safetensors"}}`,
    code: 'shard-name',
    fetched: 1000,
  },
  'a header that says it is a terabyte long': {
    file: weights,
    content: fileWith('{}', 2 ** 40),
    code: 'safetensors-header-length',
    fetched: mebibyte,
  },
  'a header full of objects': {
    file: weights,
    content: fileWith(`{"a":[${repeated('{}', 12_400_000)}]}`),
    code: 'json-too-complex',
    fetched: 13e6,
  },
  'a header with a tensor of 2 to the power of 90': {
    file: weights,
    content: fileWith(JSON.stringify({ a: { ...tensor(0, 4), shape: [2 ** 30, 2 ** 30, 2 ** 30] } })),
    code: 'safetensors-size',
    fetched: mebibyte,
  },
  'a header whose tensors overlap': {
    file: weights,
    content: fileWith(JSON.stringify({ a: tensor(0, 8), b: tensor(4, 12) })),
    code: 'safetensors-offsets',
    fetched: mebibyte,
  },
} as const

/** The code of the error that a call fails with. */
async function codeOf(page: UnwatchedPage, method: string, ...args: readonly unknown[]): Promise<string> {
  try {
    await page.call(method, ...args)
    return 'none'
  } catch (error) {
    return /"code":"([\w-]+)"/.exec((error as Error).message)?.[1] ?? String(error)
  }
}

test('promise 10: malicious configs, indexes and headers are rejected before anything large happens', async ({ server }) => {
  for (const [k, { file, content }] of Object.values(cases).entries())
    server.setRepository(`owner/case-${k}`, { [`unet/${file}`]: content, 'w.safetensors': 'not this one' })
  const page = await openUnwatchedPage('../pages/hub-worker.ts')
  try {
    await page.call('models')
    const peak = process.platform === 'linux' ? watchPeak(renderersOf(page.profile)) : () => 0
    for (const [k, [what, { file, code, fetched }]] of Object.entries(cases).entries()) {
      await page.call('open', `owner/case-${k}`, { endpoint: server.url })
      server.clearLog()
      const looking = file === 'config.json' ? codeOf(page, 'readConfig', `unet/${file}`) : codeOf(page, 'tensorNames', 'unet')
      expect(await looking, what).toBe(code)
      expect(
        server.log.reduce((sum, entry) => sum + entry.bytes, 0),
        what,
      ).toBeLessThanOrEqual(fetched)
    }
    test.info().annotations.push({ type: 'peak', description: `${(peak() / 1e6).toFixed(0)} MB` })
    // JSON.parse alone would exceed this limit for the config full of objects.
    expect(peak()).toBeLessThanOrEqual(160e6)
    // The cache keeps small files whatever they contain. It keeps nothing of the weights, which are invalid.
    const kept = (await page.call<CachedModel[]>('models')).flatMap((model) => model.files.map(({ path }) => path))
    expect(kept.filter((path) => path.endsWith('.safetensors'))).toEqual([])
  } finally {
    await page.close()
  }
})
