/**
 * Mutated headers, indexes, configs and listings: parsing each ends with a value or with an error that has a code, within 25 MB of memory,
 * and no read asks for more bytes than a header may have. `npm run fuzz` runs many more mutations than `npm test` (FUZZ_MUTATIONS,
 * FUZZ_SEED), and limits each to a second of processor time. The largest files are in size-limits.test.ts.
 */

import { expect, test } from 'vitest'
import { AquatintError } from '../errors.js'
import { parseAnswer } from '../hub/http/fetch-json.js'
import { parseFilesJson, parseTree } from '../hub/repositories/listing.js'
import { isSafePath } from '../hub/names.js'
import type { ByteRange, ByteSource, RepositoryFile } from '../hub/types.js'
import { UNet2DConditionModel } from '../models/unets/unet-2d-condition.js'
import { CLIPTokenizer } from '../tokenizers/clip-tokenizer.js'
import { parseModelIndex } from './layouts/model-index.js'
import { readSafetensorsHeader, safetensorsLimits } from './safetensors.js'
import { MemorySource, safetensorsFile } from './testing.js'
import { collectGarbage, heldBytes } from './memory.node.js'
import { checkShardName, parseWeightIndex } from './weight-index.js'
import { parseConfig, withoutDefaulted } from './read-config.js'

const mutations = Number(process.env.FUZZ_MUTATIONS ?? 10_000)
/** Milliseconds of processor time for one mutation. Not a limit in `npm test`, where no test depends on the speed of the machine. */
const allowedMilliseconds = process.env.FUZZ_MUTATIONS === undefined ? Number.POSITIVE_INFINITY : 1000
const seed = Number(process.env.FUZZ_SEED ?? 1)

/** mulberry32: a small generator, so that a failing run can be repeated by its seed. */
function randomInts(state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below)
  }
}

const fragments = [
  '"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '\\',
  '\\u0000',
  '-1',
  '1e308',
  '1e999',
  '9007199254740993',
  '18446744073709551615',
  'null',
  'true',
  '-Infinity',
  'NaN',
  '""',
  '"F32"',
  '"a"',
  '"__proto__"',
  '"constructor"',
  '[[[[',
  '{"a":',
  '%2e%2e%2f',
  '../',
  '\u0000',
  '\u00e9',
  '\ud83d\ude00',
  '"weight_map"',
  '"data_offsets"',
  '"dtype":"F8_E4M3",',
  '"__metadata__":null,',
  '"weight_map":{},',
  '\ufeff',
  ' \n\t',
  'version https://git-lfs.github.com/spec/v1\n',
  '0',
  '0.5',
].map((text) => new TextEncoder().encode(text))

function mutate(input: Uint8Array, int: (below: number) => number): Uint8Array<ArrayBuffer> {
  let bytes = Uint8Array.from(input)
  for (let round = 1 + int(4); round > 0; round--) {
    const at = int(bytes.byteLength + 1)
    const length = int(Math.min(24, bytes.byteLength - at) + 1)
    const kind = int(6)
    const insert =
      kind === 0
        ? Uint8Array.of(int(256))
        : kind === 1
          ? new Uint8Array(0)
          : kind === 2
            ? (fragments[int(fragments.length)] ?? new Uint8Array(0))
            : kind === 3
              ? bytes.slice(at, at + length)
              : kind === 4
                ? bytes.slice(int(bytes.byteLength + 1)).slice(0, 40)
                : Uint8Array.from({ length: 1 + int(8) }, () => int(256))
    const removed = kind === 3 ? 0 : kind === 0 ? 1 : length
    const next = new Uint8Array(Math.max(0, bytes.byteLength - Math.min(removed, bytes.byteLength - at)) + insert.byteLength)
    next.set(bytes.subarray(0, at))
    next.set(insert, at)
    next.set(bytes.subarray(Math.min(at + removed, bytes.byteLength)), at + insert.byteLength)
    bytes = next
  }
  return bytes
}

const header = safetensorsFile(
  {
    __metadata__: { format: 'pt' },
    'conv.weight': { dtype: 'F16', shape: [2, 3], data_offsets: [0, 12] },
    'conv.bias': { dtype: 'F32', shape: [2], data_offsets: [12, 20] },
  },
  20,
)
const text = (value: object) => new TextEncoder().encode(JSON.stringify(value))

/** The most memory that parsing one input may take, in addition to the bytes that were read. */
const allowedBytes = 25_000_000

/** A file that claims to be very long, and returns every requested range: after its first bytes, zeros. Counts the returned bytes. */
class LongSource implements ByteSource {
  readonly byteLength = 2 ** 43
  given = 0
  readonly #bytes: Uint8Array
  readonly #onRead: (count: number) => void

  constructor(bytes: Uint8Array, onRead: (count: number) => void) {
    this.#bytes = bytes
    this.#onRead = onRead
  }

  async read({ begin, end }: ByteRange): Promise<Uint8Array<ArrayBuffer>> {
    this.given += end - begin
    this.#onRead(end - begin)
    const result = new Uint8Array(end - begin)
    result.set(this.#bytes.subarray(begin, end))
    return result
  }
}

/** Milliseconds of processor time of this process, without other work on the machine. */
function processorMilliseconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** The target that is never valid: its tensors cannot cover such a long file. */
const lying = 'safetensors in a file that says it is long'

/** Forms of published files that the current `save_pretrained` does not write. */
const oddHeader = safetensorsFile(
  {
    __metadata__: null,
    'conv.weight': { dtype: 'F16', shape: [2, 3], data_offsets: [0, 12] },
    steps: { dtype: 'F8_E8M0', shape: [4], data_offsets: [12, 16] },
    // A tensor that bitsandbytes stores beside a quantized weight.
    'conv.weight.absmax': { dtype: 'F32', shape: [1], data_offsets: [16, 20] },
  },
  20,
)
const oddIndex = {
  metadata: null,
  weight_map: {
    'conv.weight': 'm-00001-of-00002.safetensors',
    ghost: 'm-00002-of-00002.safetensors',
    'text_model.embeddings.position_ids': 'm-00001-of-00002.safetensors',
  },
  total_parameters: null,
}
const oddModelIndex = {
  _class_name: ['pipeline', 'StableDiffusionPipeline'],
  _diffusers_version: null,
  unet: ['my_unet', 'UNet2DConditionModel'],
  'a-b': ['x', 'Y'],
  lists: [['diffusers'], 'UNet2DConditionModel', null],
  force_zeros_for_empty_prompt: null,
}
/** A UNet's config of an old release, with `null` wherever Python writes `None`. */
const oddConfig = {
  _class_name: 'UNet2DConditionModel',
  _diffusers_version: '0.6.0',
  sample_size: null,
  block_out_channels: [8, 16],
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
  norm_num_groups: 4,
  cross_attention_dim: 16,
  _use_default_values: ['downsample_padding', 5, null],
  quantization_config: null,
  addition_embed_type: null,
  class_embed_type: null,
  encoder_hid_dim: null,
  num_attention_heads: null,
  time_cond_proj_dim: null,
  upcast_attention: null,
  use_linear_projection: null,
}
const clipVocabulary = { a: 0, b: 1, 'a</w>': 2, 'b</w>': 3, 'ab</w>': 4, '<|startoftext|>': 5, '<|endoftext|>': 6 }

interface Target {
  readonly name: string
  readonly input: Uint8Array
  readonly isAnswer?: true
  /** Set if even the input without mutations is refused: few of its mutations are valid, or none. */
  readonly isRefused?: true
  /** Parses a source. `read` is called with the number of bytes that the source itself allocated. */
  readonly run: (bytes: Uint8Array, read: (count: number) => void) => Promise<void> | void
}

const targets: readonly Target[] = [
  {
    name: 'safetensors',
    input: header,
    run: async (bytes) => {
      const source = new MemorySource(bytes)
      const { tensors } = await readSafetensorsHeader(source, 'x')
      for (const tensor of tensors.values())
        expect(tensor.begin >= 0 && tensor.end <= bytes.byteLength && tensor.begin <= tensor.end).toBe(true)
      for (const read of source.reads) expect(read.end - read.begin).toBeLessThanOrEqual(safetensorsLimits.headerBytes)
    },
  },
  {
    name: lying,
    input: header,
    run: async (bytes, read) => {
      const source = new LongSource(bytes, read)
      try {
        await readSafetensorsHeader(source, 'x')
      } finally {
        // Only the header and its length may be read.
        expect(source.given).toBeLessThanOrEqual(8 + safetensorsLimits.headerBytes)
      }
    },
  },
  {
    name: 'index',
    input: text({
      metadata: { total_size: 20 },
      weight_map: { 'conv.weight': 'm-00001-of-00002.safetensors', 'conv.bias': 'm-00002-of-00002.safetensors' },
    }),
    run: (bytes) => {
      for (const shard of parseWeightIndex(bytes, 'x').values()) {
        checkShardName(shard, 'x')
        // A shard's name that is joined to a URL as a relative reference stays in its folder.
        expect(new URL(encodeURIComponent(shard), 'https://host/a/b/').href.startsWith('https://host/a/b/')).toBe(true)
        expect(shard).not.toMatch(/[/\\]/)
      }
    },
  },
  {
    name: 'model_index',
    input: text({
      _class_name: 'StableDiffusionPipeline',
      unet: ['diffusers', 'UNet2DConditionModel'],
      vae: [null, null],
      requires_safety_checker: false,
    }),
    run: (bytes) => {
      for (const component of parseModelIndex(parseConfig(bytes, 'x')).components.keys()) expect(component).toMatch(/^\w+$/)
    },
  },
  {
    name: 'safetensors without metadata, and with a tensor of a new type',
    input: oddHeader,
    run: async (bytes) => {
      const source = new MemorySource(bytes)
      const { tensors } = await readSafetensorsHeader(source, 'x')
      for (const tensor of tensors.values()) expect(tensor.begin >= 0 && tensor.end <= bytes.byteLength).toBe(true)
    },
  },
  {
    name: 'index with unknown entries',
    input: text(oddIndex),
    run: (bytes) => {
      for (const shard of parseWeightIndex(bytes, 'x').values()) expect(shard).not.toMatch(/[/\\]/)
    },
  },
  {
    name: 'model_index with lists',
    input: text({ ...oddModelIndex, _class_name: 'StableDiffusionImg2ImgPipeline' }),
    run: (bytes) => {
      for (const component of parseModelIndex(parseConfig(bytes, 'x')).components.keys()) expect(component).toMatch(/^\w+$/)
    },
  },
  {
    name: 'model_index of a pipeline with code of its own',
    input: text(oddModelIndex),
    isRefused: true,
    run: (bytes) => {
      for (const component of parseModelIndex(parseConfig(bytes, 'x')).components.keys()) expect(component).toMatch(/^\w+$/)
    },
  },
  {
    name: 'config with nulls',
    input: text(oddConfig),
    run: (bytes) => {
      const { latents } = UNet2DConditionModel.fromConfig(withoutDefaulted(parseConfig(bytes, 'x')).config)
      expect(latents.channels >= 1 && latents.channels <= 1024).toBe(true)
    },
  },
  {
    name: 'added_tokens.json',
    input: text({ '<cat-toy>': 7, '<B>': 8, '': 9, '\u00c5': 10 }),
    run: (bytes) => {
      const addedTokens = parseConfig(bytes, 'x')
      const tokenizer = new CLIPTokenizer({ vocab: clipVocabulary, merges: 'a b</w>\n', addedTokens })
      for (const id of tokenizer.encode('ab <cat-toy> <b> a')) expect(Number.isSafeInteger(id) && id >= 0).toBe(true)
    },
  },
  {
    name: 'files.json',
    input: text({
      files: [
        { path: 'unet/config.json', size: 7 },
        { path: 'vae/w.safetensors', size: 12, sha256: 'ab'.repeat(32) },
      ],
    }),
    isAnswer: true,
    run: (bytes) => checkListing(parseFilesJson(parseAnswer(bytes, asked), asked)),
  },
  {
    name: 'tree',
    input: text([
      { type: 'directory', oid: 'cd'.repeat(20), size: 0, path: 'unet' },
      { type: 'file', oid: 'cd'.repeat(20), size: 7, path: 'unet/config.json' },
      {
        type: 'file',
        oid: 'cd'.repeat(20),
        size: 12,
        path: 'w.safetensors',
        lfs: { oid: 'ab'.repeat(32), size: 12, pointerSize: 134 },
      },
    ]),
    isAnswer: true,
    run: (bytes) => checkListing(parseTree(parseAnswer(bytes, asked), asked)),
  },
]

const asked = { repository: 'owner/name' }

function checkListing(files: readonly RepositoryFile[]): void {
  for (const { path, size } of files) expect(isSafePath(path) && Number.isSafeInteger(size) && size >= 0).toBe(true)
}

test.each(targets)(
  '$name: every mutation ends as a value or an error with a code',
  async ({ name, input, isAnswer, isRefused, run }) => {
    const int = randomInts(seed)
    let accepted = 0
    let slowest = 0
    let most = 0
    const codes = new Set<string>()
    for (let i = 0; i < mutations; i++) {
      const bytes = mutate(input, int)
      let read = 0
      const held = heldBytes()
      const began = processorMilliseconds()
      try {
        await run(bytes, (count) => (read += count))
        accepted += 1
      } catch (error) {
        if (!(error instanceof AquatintError)) throw error
        codes.add(error.code)
      }
      slowest = Math.max(slowest, processorMilliseconds() - began)
      most = Math.max(most, heldBytes() - held - read)
    }
    const shown = `${mutations} mutations, slowest ${slowest.toFixed(0)} ms, most memory ${(most / 1e6).toFixed(1)} MB`
    process.stdout.write(`${name}: ${shown}, ${accepted} accepted, ${codes.size} codes\n`)
    expect(slowest).toBeLessThan(allowedMilliseconds)
    expect(most).toBeLessThanOrEqual(allowedBytes)
    // The mutations reach past the first check, and some are harmless. Parsers of a server's answer have one code for all errors.
    if (!isAnswer) expect(codes.size).toBeGreaterThan(3)
    if (name !== lying && isRefused !== true) expect(accepted).toBeGreaterThan(0)
  },
  600_000,
)

test('the measurement sees memory in buffers and on the heap', async () => {
  const size = 1.2 * allowedBytes
  const takes = [() => new Uint8Array(size), () => Array.from({ length: size / 8 }, (_, k) => k + 0.5)]
  for (const take of takes) {
    // Collect the garbage of other tests first: otherwise its collection would lower the measured bytes.
    await collectGarbage()
    const held = heldBytes()
    const taken = take()
    expect(heldBytes() - held).toBeGreaterThan(allowedBytes)
    expect(taken.length).toBeGreaterThan(0)
  }
})
