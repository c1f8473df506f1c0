/** A worker that drives the hub for specs: calls by name, errors as plain data, progress as messages. It holds no logic of the product. */

import { serializeError } from '../../src/errors.js'
import { FileHasher } from '../../src/hub/file-hasher.js'
import { Hub, type HubOptions } from '../../src/hub/hub.js'
import { openRepository, type OpenRepository, type OpenRepositoryOptions } from '../../src/hub/open-repository.js'
import type { ByteSource } from '../../src/hub/types.js'

let hub: Hub | undefined
let repository: OpenRepository | undefined
let stop = new AbortController()
const sources = new Map<string, ByteSource>()
const trouble: string[] = []

async function theHub(): Promise<Hub> {
  hub ??= await Hub.open({ onStorageTrouble: (error) => trouble.push(error.code) })
  return hub
}

const methods = {
  /** Opens the cache with settings other than the usual. */
  async setUp(options: HubOptions) {
    hub = await Hub.open({ ...options, onStorageTrouble: (error) => trouble.push(error.code) })
  },
  async open(id: string, options: OpenRepositoryOptions) {
    repository = await openRepository(await theHub(), id, { ...options, signal: stop.signal })
    return { revision: repository.revision, files: await repository.files().catch(() => []) }
  },
  /** Opens files at the same time; gives their lengths. */
  async load(...paths: string[]) {
    const from = repository
    if (from === undefined) throw new Error('Open a repository first')
    return Promise.all(
      paths.map(async (path) => {
        const source = await from.open(path, { signal: stop.signal, onProgress: (progress) => postMessage({ progress }) })
        sources.set(path, source)
        return source.byteLength
      }),
    )
  },
  abort() {
    stop.abort()
    stop = new AbortController()
  },
  close() {
    repository?.close()
    sources.clear()
  },
  /** Hex sha256 of an opened file as it reads. */
  async hash(path: string) {
    const source = sourceOf(path)
    const hasher = await FileHasher.create('sha256', source.byteLength)
    const step = 8 << 20
    for (let begin = 0; begin < source.byteLength; begin += step) {
      await hasher.update(await source.read({ begin, end: Math.min(source.byteLength, begin + step) }))
    }
    return hasher.digest()
  },
  async read(path: string, begin: number, end: number) {
    return [...(await sourceOf(path).read({ begin, end }))]
  },
  trouble() {
    return trouble
  },
  async memoryPeak() {
    return (await theHub()).budget.peak
  },
}

function sourceOf(path: string): ByteSource {
  const source = sources.get(path)
  if (source === undefined) throw new Error(`${path} is not open`)
  return source
}

export type HubMethods = typeof methods

interface Call {
  readonly id: number
  readonly method: keyof HubMethods
  readonly args: readonly unknown[]
}

addEventListener('message', ({ data }: MessageEvent<Call>) => {
  const method = methods[data.method] as (...args: readonly unknown[]) => unknown
  Promise.resolve()
    .then(() => method(...data.args))
    .then((value) => postMessage({ id: data.id, value }))
    .catch((error: unknown) => postMessage({ id: data.id, error: serializeError(error) }))
})
