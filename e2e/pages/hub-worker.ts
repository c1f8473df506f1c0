/** A worker that drives the hub for specs: calls by name, errors as plain data, progress as messages. It contains no logic of the product. */

import { castWeights } from '../../src/checkpoint/transforms/cast.js'
import { transformTable } from '../../src/checkpoint/transforms/transform-table.js'
import { dtypeBytes } from '../../src/util/dtype-bytes.js'
import type { TensorEntry } from '../../src/checkpoint/types.js'
import { chooseWeightFiles } from '../../src/checkpoint/weight-files.js'
import { readWeightTable } from '../../src/checkpoint/weight-table.js'
import { type StorageError, serializeError } from '../../src/errors.js'
import { FileHasher } from '../../src/hub/cache/file-hasher.js'
import { installPageWorkers } from '../../src/engine/page-worker.js'
import { Hub } from '../../src/hub/hub.js'
import { layoutNames } from '../../src/checkpoint/layouts/open-layout.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import { openPrepared } from '../../src/hub/prepared-file.js'
import { openShardCache } from '../../src/hub/cache/shard-cache.js'
import { defaultSettings } from '../../src/hub/settings.js'
import type { ByteSource, OpenRepository } from '../../src/hub/types.js'
import type { Answer, Argument, HubMethods } from '../hub/methods.js'
import { headersOnly } from '../../src/hub/downloads/header-only-file.js'
import { readConfig } from '../../src/checkpoint/read-config.js'

let hub: Hub | undefined
let repository: OpenRepository | undefined
let stop = new AbortController()
const sources = new Map<string, ByteSource>()
const trouble: string[] = []
const onStorageTrouble = (error: StorageError) => trouble.push(error.code)

/** Time limits that no slow machine exceeds. A spec that tests such a limit sets its own. */
const patience = { stallMs: 600_000, storeOpenMs: 600_000 }

async function theHub(): Promise<Hub> {
  hub ??= await Hub.open({ settings: patience, onStorageTrouble })
  return hub
}

type Methods = { readonly [M in keyof HubMethods]: (...args: Argument<M>) => Answer<M> | Promise<Answer<M>> }

const methods: Methods = {
  useWorkers: installPageWorkers,
  async setUp(settings) {
    hub = await Hub.open({ settings: { ...patience, ...settings }, onStorageTrouble })
  },
  async open(id, options) {
    repository = await openRepository(await theHub(), id, { ...options, layout: layoutNames, signal: stop.signal })
    return { revision: repository.revision, files: await repository.files().catch(() => []) }
  },
  async openFolder(files) {
    const root = await navigator.storage.getDirectory()
    const model = await root.getDirectoryHandle('model', { create: true })
    for (const [path, text] of Object.entries(files)) {
      const parts = path.split('/')
      let folder = model
      for (const name of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(name, { create: true })
      const file = await (await folder.getFileHandle(parts.at(-1) ?? '', { create: true })).createWritable()
      await file.write(text)
      await file.close()
    }
    repository = await openRepository(await theHub(), model)
    return repository.files()
  },
  async openReference(folder) {
    repository = await openRepository(await theHub(), folder)
    return { id: repository.id, files: await repository.files() }
  },
  async load(...paths) {
    const from = opened()
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
  },
  hash: (path) => hashOf(sourceOf(path)),
  async read(path, begin, end) {
    return [...(await sourceOf(path).read({ begin, end }))]
  },
  trouble: () => trouble,
  async memoryPeak() {
    return (await theHub()).memory.peak
  },
  async prepare(path, from, to, holdAt = Infinity) {
    const whole = sourceOf(path)
    const source: ByteSource = {
      byteLength: whole.byteLength,
      contentKey: whole.contentKey,
      read: (range, options) => (range.end > holdAt ? new Promise(() => {}) : whole.read(range, options)),
    }
    const half = source.byteLength / 2
    const entry = (name: string, begin: number): TensorEntry => ({
      name,
      dtype: from,
      shape: [half / dtypeBytes[from]],
      source,
      begin,
      end: begin + half,
    })
    const table = transformTable(new Map([entry('a', 0), entry('b', half)].map((each) => [each.name, each])), [castWeights(to)])
    const prepared = await openPrepared(
      await theHub(),
      {
        name: `prepared ${to}`,
        recipe: `${from} to ${to}`,
        contents: [source.contentKey ?? ''],
        parts: [...table.values()],
      },
      { signal: stop.signal, onProgress: (progress) => postMessage({ progress }) },
    )
    sources.set(`prepared ${to}`, prepared.source)
    return prepared.source.byteLength
  },
  async readConfig(path) {
    return Object.keys(await readConfig(opened(), path))
  },
  async tensorNames(folder) {
    const paths = (await opened().files()).map((file) => file.path)
    const files = chooseWeightFiles(paths, { folder, library: 'diffusers', missingVariant: 'strict' })
    return [...(await readWeightTable(headersOnly(opened()), files)).keys()]
  },
  async models() {
    return (await theHub()).cache.models()
  },
  async totalBytes() {
    return (await theHub()).cache.totalBytes()
  },
  async verify() {
    return (await theHub()).cache.verify()
  },
  async deleteModel(id) {
    return (await theHub()).cache.deleteModel(await modelOf(id))
  },
  async evictOldest() {
    return (await theHub()).cache.evictOldest()
  },
  async exported(id) {
    const hashes: Record<string, string> = {}
    for (const { path, blob } of await (await theHub()).cache.exportModel(await modelOf(id))) {
      const read = async ({ begin, end }: { begin: number; end: number }) =>
        new Uint8Array(await blob.slice(begin, end).arrayBuffer())
      hashes[path] = await hashOf({ byteLength: blob.size, read })
    }
    return hashes
  },
  async corrupt(path, index) {
    const store = await openShardCache(defaultSettings)
    const key = await keyOf(path)
    const blob = await store.chunk(key, index)
    if (blob === undefined) throw new Error(`There is no chunk ${index} of ${path}`)
    const bytes = new Uint8Array(await blob.arrayBuffer())
    bytes[bytes.length >> 1] = 255 - (bytes[bytes.length >> 1] ?? 0)
    await store.putChunk(key, index, bytes)
  },
  async loseChunk(path, index) {
    await (await openShardCache(defaultSettings)).deleteChunks(await keyOf(path), [index])
  },
  async recordsAsText() {
    return JSON.stringify(await (await openShardCache(defaultSettings)).records(''))
  },
}

function opened(): OpenRepository {
  if (repository === undefined) throw new Error('Open a repository first')
  return repository
}

async function keyOf(path: string): Promise<string> {
  const file = (await (await theHub()).cache.files()).find((each) => each.path === path)
  if (file === undefined) throw new Error(`${path} is not in the cache`)
  return file.key
}

async function modelOf(id: string) {
  const model = (await (await theHub()).cache.models()).find((each) => each.id === id)
  if (model === undefined) throw new Error(`${id} is not in the cache`)
  return model
}

/** Hex sha256 of a source, read in pieces. */
async function hashOf(source: ByteSource): Promise<string> {
  const hasher = await FileHasher.create('sha256', source.byteLength)
  const step = 8 << 20
  for (let begin = 0; begin < source.byteLength; begin += step) {
    await hasher.update(await source.read({ begin, end: Math.min(source.byteLength, begin + step) }))
  }
  return hasher.digest()
}

function sourceOf(path: string): ByteSource {
  const source = sources.get(path)
  if (source === undefined) throw new Error(`${path} is not open`)
  return source
}

interface Call {
  readonly id: number
  readonly method: keyof HubMethods
  readonly args: readonly unknown[]
}

async function answer({ id, method, args }: Call): Promise<void> {
  try {
    const run = methods[method] as (...args: readonly unknown[]) => unknown
    postMessage({ id, value: await run(...args) })
  } catch (error) {
    postMessage({ id, error: serializeError(error) })
  }
}

addEventListener('message', ({ data }: MessageEvent<Call>) => void answer(data))
