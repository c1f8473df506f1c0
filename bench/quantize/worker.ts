/**
 * The worker of bench/quantize-cached.ts and e2e/hub-memory.spec.ts: fills the cache, quantizes files that are cached or still
 * downloading, and opens only the quantized copy.
 */

import { listWeightFiles, measureWeights, readArrivingTable, readWeightTable } from '../../src/checkpoint/weight-table.js'
import { chooseWeightFiles } from '../../src/checkpoint/weight-files.js'
import { Hub } from '../../src/hub/hub.js'
import { openRepository } from '../../src/hub/repositories/open-repository.js'
import { hashKey } from '../../src/hub/stored-file.js'
import { quantizingTransforms } from '../../src/pipelines/loading/dtypes.js'
import { transformWeights } from '../../src/pipelines/loading/transform-weights.js'
import { Run } from '../../src/pipelines/run.js'

const methods: Record<string, (id: string, endpoint: string) => Promise<number>> = {
  /** Answers as soon as the worker runs. */
  ready: () => Promise.resolve(0),
  /** Downloads a repository's files. Returns their bytes. */
  async fill(id, endpoint) {
    const repository = await openRepository(await Hub.open(), id, { endpoint })
    let bytes = 0
    for (const { path } of await repository.files()) bytes += (await repository.open(path)).byteLength
    return bytes
  },
  q8: (id, endpoint) => open(id, endpoint, 'q8'),
  q4: (id, endpoint) => open(id, endpoint, 'q4'),
  arriving: (id, endpoint) => open(id, endpoint, 'q4', true),
}

/** Opens the quantized copy, and creates it first if it does not exist. Returns its size in bytes. */
async function open(id: string, endpoint: string, word: 'q8' | 'q4', early = false): Promise<number> {
  const hub = await Hub.open()
  const repository = await openRepository(hub, id, { endpoint })
  const listed = await repository.files()
  const files = chooseWeightFiles(
    listed.map((file) => file.path),
    { folder: '', library: 'transformers', missingVariant: 'strict' },
  )
  const paths = await listWeightFiles(repository, files)
  const contents = paths.map((path) =>
    hashKey({ algorithm: 'sha256', hex: listed.find((file) => file.path === path)?.sha256 ?? '' }),
  )
  const read = () => readWeightTable(repository, files)
  const readArriving = early ? () => readArrivingTable(repository, files) : undefined
  const { table } = await transformWeights(
    { component: 'text_encoder_3', transforms: quantizingTransforms(word, undefined), label: word, contents, read, readArriving },
    hub,
    new Run({}),
  )
  return measureWeights(table).bytes
}

interface Call {
  readonly id: number
  readonly method: string
  readonly args: [string, string]
}

async function answer({ id, method, args }: Call): Promise<void> {
  try {
    const began = performance.now()
    const bytes = await methods[method]?.(...args)
    postMessage({ id, value: { bytes, seconds: (performance.now() - began) / 1000 } })
  } catch (error) {
    postMessage({ id, error: String(error) })
  }
}

addEventListener('message', ({ data }: MessageEvent<Call>) => void answer(data))
