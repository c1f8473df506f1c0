/**
 * Headers, indexes, configs and listings of the largest allowed size, written to need as much memory as possible: each is parsed in a heap
 * that has 25 MB free, and in `npm run fuzz` within a second of processor time. Files much larger than those of published checkpoints are
 * still read.
 */

import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { maxAnswerBytes } from '../hub/http/fetch-json.js'
import { safetensorsLimits } from './safetensors.js'
import { weightIndexLimits } from './weight-index.js'
import { maxConfigBytes } from './read-config.js'

/** Milliseconds of processor time for one file. Not a limit in `npm test`, where no test depends on the speed of the machine. */
const allowedMilliseconds = process.env.FUZZ_MUTATIONS === undefined ? Number.POSITIVE_INFINITY : 1000

/** Megabytes that parsing may take. */
const allowed = 25

/** The worker's parsers. `plain` uses too much memory, to show that the test notices it. */
const parsers = {
  header: `(bytes) => checkpoint.parseSafetensorsHeader(bytes, 'x', 8 + bytes.length + 30000)`,
  index: `(bytes) => index.parseWeightIndex(bytes, 'x')`,
  config: `(bytes) => config.parseConfig(bytes, 'x')`,
  files: `(bytes) => listing.parseFilesJson(json.parseAnswer(bytes, asked), asked)`,
  tree: `(bytes) => listing.parseTree(json.parseAnswer(bytes, asked), asked)`,
  plain: `(bytes) => JSON.parse(new TextDecoder().decode(bytes))`,
}

const script = `
  import { getHeapStatistics } from 'node:v8'
  import { parentPort } from 'node:worker_threads'
  import * as checkpoint from './header.mjs'
  import * as config from './config.mjs'
  import * as index from './index.mjs'
  import * as json from './json.mjs'
  import * as listing from './listing.mjs'
  const asked = { repository: 'owner/name' }
  const parsers = { ${Object.entries(parsers)
    .map(([name, code]) => `${name}: ${code}`)
    .join(', ')} }
  const processor = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000 }
  parentPort.on('message', ({ parser, bytes }) => {
    const began = processor()
    let outcome = 'read'
    let value
    try {
      value = parsers[parser](bytes)
    } catch (error) {
      outcome = error.code ?? String(error)
    }
    parentPort.postMessage({ outcome, milliseconds: processor() - began, type: typeof value })
  })
  parentPort.postMessage(getHeapStatistics().used_heap_size)`

let folder = ''
let heap = 0
let worker: Worker | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'limits-'))
  const entry = {
    header: source('safetensors.ts'),
    index: source('weight-index.ts'),
    config: source('read-config.ts'),
    json: source('../hub/http/fetch-json.ts'),
    listing: source('../hub/repositories/listing.ts'),
  }
  const lib = { entry, formats: ['es' as const], fileName: (_: string, name: string) => `${name}.mjs` }
  await build({ configFile: false, logLevel: 'error', build: { outDir: folder, emptyOutDir: false, target: 'es2023', lib } })
  await writeFile(join(folder, 'worker.mjs'), script)
  const idle = new Worker(join(folder, 'worker.mjs'))
  const [bytes] = (await once(idle, 'message')) as [number]
  heap = Math.ceil(bytes / 2 ** 20)
  await idle.terminate()
}, 60_000)

afterAll(async () => {
  await worker?.terminate()
  await rm(folder, { recursive: true })
})

/** The path of a module of this folder. */
function source(path: string): string {
  return resolve(import.meta.dirname, path)
}

/** Starts a worker whose heap can hold the worker itself and 25 MB. */
async function start(): Promise<Worker> {
  const resourceLimits = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: heap + allowed }
  const started = new Worker(join(folder, 'worker.mjs'), { resourceLimits })
  await once(started, 'message')
  return started
}

/** `read`, the code of the error, or the reason why the worker ended. */
async function outcomeOf(parser: keyof typeof parsers, text: string): Promise<string> {
  worker ??= await start()
  const bytes = new TextEncoder().encode(text)
  worker.postMessage({ parser, bytes }, [bytes.buffer])
  try {
    const [{ outcome, milliseconds }] = (await once(worker, 'message')) as [{ outcome: string; milliseconds: number }]
    expect(milliseconds).toBeLessThan(allowedMilliseconds)
    return outcome
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    worker = undefined
    return String(error.code)
  }
}

/** Texts of `bytes` bytes whose values take as much memory for each byte of text as they can. */
const heavyValues: Readonly<Record<string, (bytes: number) => string>> = {
  'empty objects': (bytes) => list('{}', bytes),
  'empty lists': (bytes) => list('[]', bytes),
  'lists of one': (bytes) => list('[0]', bytes),
  'lists in lists': (bytes) => list(`${'['.repeat(60)}${']'.repeat(60)}`, bytes),
  'keys that are indexes': (bytes) => list('{"1000":0}', bytes),
  'small objects': (bytes) => list('{"a":0,"b":0,"c":0}', bytes),
  'empty strings': (bytes) => list('""', bytes),
  numbers: (bytes) => list('1.5', bytes),
  'many keys': (bytes) => `{${members(bytes, (k) => k.toString(36).padStart(7, '_'))}}`,
  'many numbers as keys': (bytes) => `{${members(bytes, (k) => String(977 * k))}}`,
  'one string of wide characters': (bytes) => JSON.stringify('a'.repeat(bytes - 4) + '\u0100'),
  'one string of escapes': (bytes) => `"${'\\u0100'.repeat((bytes - 2) / 6)}"`,
  'one number': (bytes) => '1'.repeat(bytes),
  spaces: (bytes) => `${' '.repeat(bytes - 1)}0`,
}

function list(item: string, bytes: number): string {
  return `[${`${item},`.repeat((bytes - 2) / (item.length + 1) - 1)}${item}]`
}

function members(bytes: number, key: (k: number) => string): string {
  const all: string[] = []
  for (let k = 0, length = 2; length < bytes - 20; k++) length += all[all.push(`"${key(k)}":0`) - 1]!.length + 1
  return all.join(',')
}

const range = <T>(count: number, make: (k: number) => T) => Array.from({ length: count }, (_, k) => make(k))
const sha256 = 'ab'.repeat(32)
const tensors = (names: readonly string[]) =>
  Object.fromEntries(names.map((name, k) => [name, { dtype: 'F16', shape: [1], data_offsets: [2 * k, 2 * k + 2] }]))
const names = (count: number) => range(count, (k) => `transformer_blocks.${k}.attn.to_out.0.weight`)

const word = (k: number) => `${(k * 7919).toString(36)}</w>`
const words = (count: number) => Object.fromEntries(range(count, (k) => [word(k), k]))

/** For each parser: the longest text that it accepts, a function that puts a value into a text for this parser, and a large valid content. */
const limits = [
  {
    parser: 'header',
    bytes: safetensorsLimits.headerBytes,
    wrap: (value: string) => `{"a":${value}}`,
    right: () => tensors(names(15_000)),
  },
  {
    parser: 'index',
    bytes: weightIndexLimits.bytes,
    wrap: (value: string) => `{"weight_map":${value}}`,
    right: () => ({
      weight_map: Object.fromEntries(names(50_000).map((name, k) => [name, `m-0000${k % 9}-of-00009.safetensors`])),
    }),
  },
  {
    parser: 'config',
    bytes: maxConfigBytes,
    wrap: (value: string) => `{"a":${value}}`,
    // As large as the tokenizer.json of CLIP.
    right: () => ({ vocab: words(49_408), merges: range(48_894, (k) => [word(k), word(k + 7)]) }),
  },
  {
    parser: 'files',
    bytes: maxAnswerBytes,
    wrap: (value: string) => `{"files":${value}}`,
    right: () => ({ files: names(20_000).map((path, size) => ({ path, size, sha256 })) }),
  },
  {
    parser: 'tree',
    bytes: maxAnswerBytes,
    wrap: (value: string) => value,
    right: () =>
      names(5000).map((path, size) => ({ type: 'file', path, size, oid: sha256.slice(24), lfs: { oid: sha256, size } })),
  },
] as const

/** One JSON parser reads all kinds of texts, so configs are tried with all of these values, and the other kinds only with some. */
const elsewhere = new Set(['small objects', 'many keys', 'one string of wide characters'])

describe.each(limits)('$parser', ({ parser, bytes, wrap, right }) => {
  test.each(Object.entries(heavyValues).filter(([kind]) => parser === 'config' || elsewhere.has(kind)))(
    'does not take too much memory for a file full of %s',
    async (_, heavyValue) => {
      const freeBytes = bytes - wrap('').length
      for (const part of [8, 1]) {
        const text = wrap(heavyValue(Math.floor(freeBytes / part)))
        expect(text.length).toBeGreaterThan((0.9 * bytes) / part)
        expect(text.length).toBeLessThanOrEqual(bytes)
        expect(await outcomeOf(parser, text)).toMatch(/^[a-z-]+$/)
      }
    },
  )

  test('reads a large valid file', async () => {
    expect(await outcomeOf(parser, JSON.stringify(right()))).toBe('read')
  })
})

test('the test notices a parser that takes too much memory', async () => {
  expect(await outcomeOf('plain', heavyValues['small objects']!(1_000_000))).toBe('read')
  expect(await outcomeOf('plain', heavyValues['small objects']!(maxConfigBytes))).toBe('ERR_WORKER_OUT_OF_MEMORY')
})
