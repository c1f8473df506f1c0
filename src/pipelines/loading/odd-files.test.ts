/**
 * Checkpoints whose files are not as `save_pretrained` writes them (fixtures/odd-files). The fixture says what diffusers does with each.
 * If diffusers makes the same image, the checkpoint must load here. If diffusers makes another image, Aquatint may refuse the checkpoint
 * with one of a few error codes. If diffusers fails, Aquatint refuses the checkpoint with a code, or loads it in a form that
 * docs/models.md lists.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { openLayout } from '../../checkpoint/layouts/open-layout.js'
import { errorCodes } from '../../error-codes.js'
import { isAquatintError, type CheckpointErrorCode, type ErrorCode, type UnsupportedErrorCode } from '../../errors.js'
import { families } from '../families.js'
import { Run } from '../run.js'
import { fixtures } from '../testing.node.js'
import { oddRepository, readOddFilesCases, type OddFilesCase } from '../testing-odd-files.node.js'
import { findSpec } from './find-pipeline.js'
import { readNetworkHeaders } from './read-network-headers.js'
import { readParts } from './read-parts.js'

const open = () => Promise.reject(new Error('No other repository is opened'))

/** Reads a checkpoint, but no tensors. Reads the tokenizers and the headers of the weights only if the case may have changed them. */
async function load(item: OddFilesCase): Promise<void> {
  const { options = {} } = item
  const changes = JSON.stringify(item)
  const run = new Run({})
  const layout = await openLayout(oddRepository(item))
  const whole = findSpec(layout, families, run)
  const spec = changes.includes('tokenizer') ? whole : { ...whole, tokenizers: {} }
  const { sources } = await readParts({ layout, spec, options, open, run })
  if (/safetensors|variant|model_index|stray|backup|max_position/.test(changes))
    await readNetworkHeaders({ sources, options, run })
}

/**
 * If diffusers makes another image from a checkpoint, Aquatint may refuse the checkpoint with these codes. `tensor-missing`: if the file
 * of a text encoder lacks weights, transformers uses random ones.
 */
const refused = new Set(['unsupported-class', 'unsupported-config', 'tensor-missing'])

/**
 * The error codes of checkpoints that no case here causes while diffusers fails too. The value of each is the test that causes it, or the
 * reason why the error is right.
 */
const decidedElsewhere: Readonly<Partial<Record<CheckpointErrorCode | UnsupportedErrorCode, string>>> = {
  'index-shards': 'limit',
  'json-depth': 'limit',
  'json-too-complex': 'limit',
  'json-too-large': 'limit',
  'tokenizer-file': 'limit',
  'gguf-header': 'src/checkpoint/gguf.test.ts',
  'gguf-type': 'src/checkpoint/gguf.test.ts',
  'lora-mismatch': 'src/pipelines/lora-behaviour.test.ts',
  'lora-fuse': 'src/pipelines/lora-behaviour.test.ts',
  'lora-method': 'src/pipelines/lora-behaviour.test.ts',
  'not-a-lora': 'src/pipelines/lora-behaviour.test.ts',
  'not-an-embedding': 'src/pipelines/textual-inversion.parity.test.ts',
  'single-file-component': 'src/checkpoint/layouts/single-file/single-file.test.ts',
  'single-file-family': 'src/checkpoint/layouts/single-file/single-file.test.ts',
  'quantization-config': 'own form of weights',
  'quantized-name': 'own form of weights',
  'weight-not-finite': 'own form of weights',
  'weight-too-large': 'own form of weights',
  'tokenizer-model': 'fixtures/config-keys/tokenizers.json',
  'tokenizer-normalizer': 'fixtures/tokenizers/t5/forms.json',
  'token-id': 'found when a prompt is encoded, where PyTorch fails too',
  'dtype-not-convertible': 'found when weights are read; dtype-mismatch comes first',
  'tensor-used-twice': 'a guard of the code itself: a name is converted once',
  'safetensors-header': 'a guard of the code itself: JSON that begins with a brace is an object',
  'pickle-weights': 'diffusers runs the code in them',
}

/**
 * The forms that load here although diffusers fails, as docs/models.md lists them. Each has a pattern that matches the names of its
 * cases.
 */
const loadedHere: readonly (readonly [string, RegExp])[] = [
  ['`null` for a component or its class in `model_index.json`', /^a component as null|^a class that is null/],
  [
    'a class under another library or module than its own',
    /^\w+ as \w+ of (?:transformers\.models\.clip|diffusers|transformers)$/,
  ],
  [
    "`LatentConsistencyModelPipeline` with a UNet that takes no guidance scale, or a component's config of another class",
    /^saved as LatentConsistency|^another class's config/,
  ],
  ['4.0 for 4, `true` for 1, `1E3` for 1000', /: \w+ (?:\d+\.0|True)$|^numbers as/],
  [
    "a `model_max_length` that is missing, `null`, or larger than the text encoder's number of positions",
    /model_max_length (?:None|100|1e\+30|10{10}\d+)$|^no tokenizer_config|^neither of the two|^an empty tokenizer_config|without tokenizer_config/,
  ],
  [
    'a type (`torch_dtype`, `dtype`) that the weights do not have, or tensors of several types in one file',
    /: (?:torch_)?dtype |^one weight in float16/,
  ],
  [
    '`null`, an empty text, an unknown word or 0 for a key that no image depends on, or that has a default',
    /(?:skip_prk_steps|_class_name|_use_default_values|use_return_dict|bos_token_id|sample_size|layer_norm_eps) (?:None|''|False|'0'|'x'|0)$|special tokens that are null|^a config that is \{\}/,
  ],
  ['`beta_start: 0`', /beta_start 0$/],
  ['`add_watermarker`', /^add_watermarker$/],
  ['a byte order mark before JSON or text', /^a byte order mark/],
  ['white space or empty lines after merges, merges of symbols that the vocabulary lacks', /^merges /],
  [
    'words of `added_tokens.json`, `added_tokens_decoder` or other tokens without a row in the token embedding',
    /added_tokens\.json with|added_tokens_decoder|additional_special_tokens|special_tokens_map\.json with/,
  ],
  [
    '`vocab` and `merges` in `tokenizer_config.json`, a `tokenizer.model` beside the files',
    /: (?:vocab|merges) |tokenizer\/tokenizer\.model/,
  ],
  ['a `vocab_size` that is not the number of rows of the token embedding', /vocab_size 2000/],
  ["weights of an autoencoder's attention in the shape of 1 × 1 convolutions", /1x1 convolutions/],
  ['an index without `metadata`', /^an index (?:without|whose) metadata/],
  ['a missing folder of a component that is never loaded, such as a safety checker', /feature_extractor|safety_checker/],
]

const cases = readOddFilesCases()
const errors = new Map<OddFilesCase, unknown>()
beforeAll(async () => {
  for (const item of cases) await load(item).catch((error: unknown) => errors.set(item, error))
})

test.each([1, 2, 3, 4, 5])('cases of kind %i load here, or are refused, as diffusers decides', (kind) => {
  const faults: string[] = []
  for (const [item, error] of errors) {
    if (item.kind !== kind) continue
    if (!isAquatintError(error)) faults.push(`${item.name}: fails without a code: ${String(error)}`)
    else if (item.judged === 'same' || (item.judged === 'other' && !refused.has(error.code)))
      faults.push(`${item.name}: ${error.code}: ${error.message}`)
  }
  expect(cases.some((item) => item.kind === kind && item.judged === 'same') || kind === 5).toBe(true)
  expect(faults).toEqual([])
})

test('for each error code of a checkpoint, diffusers fails at a case too, or another test decides the code', () => {
  const caused = new Set(
    [...errors].filter(([item]) => item.judged === 'error').map(([, error]) => isAquatintError(error) && error.code),
  )
  const codes = Object.keys({ ...errorCodes.CheckpointError, ...errorCodes.UnsupportedError })
  const undecided = codes.filter((code) => !caused.has(code as ErrorCode) && !Object.hasOwn(decidedElsewhere, code))
  expect(undecided).toEqual([])
  expect(Object.keys(decidedElsewhere).filter((code) => caused.has(code as ErrorCode))).toEqual([])
})

test('docs/models.md lists the codes that are decided elsewhere, and each test named here causes its code', () => {
  const root = join(fixtures, '..')
  const docs = readFileSync(join(root, 'docs/models.md'), 'utf8')
  const [, table = ''] = /The exceptions:\n\n((?:\|.*\n)+)/.exec(docs) ?? []
  const listed = table.split('\n').flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, code]) => code))
  expect(listed).toHaveLength(new Set(listed).size)
  expect(new Set(listed)).toEqual(new Set(Object.keys(decidedElsewhere)))
  for (const [code, where] of Object.entries(decidedElsewhere).filter(([, place]) => place.includes('/'))) {
    expect(existsSync(join(root, where)), where).toBe(true)
    if (where.endsWith('.ts')) expect(readFileSync(join(root, where), 'utf8'), where).toContain(`'${code}'`)
  }
})

test('docs/models.md lists each form that diffusers fails at and that loads here', () => {
  const docs = readFileSync(join(fixtures, '../docs/models.md'), 'utf8')
  const [, table = ''] = /cause an error in diffusers and load in Aquatint.*\n\n\|.*\n\|.*\n((?:\|.*\n)+)/.exec(docs) ?? []
  const listed = table
    .trimEnd()
    .split('\n')
    .map((row) => row.split(' | ')[0]?.replace(/^\| /, ''))
  expect(listed).toEqual(loadedHere.map(([form]) => form))
  const names = cases.filter((item) => item.judged === 'error' && !errors.has(item)).map(({ name }) => name)
  const formsOf = (name: string) => loadedHere.filter(([, pattern]) => pattern.test(name)).length
  expect(names.filter((name) => formsOf(name) !== 1)).toEqual([])
  expect(loadedHere.filter(([, pattern]) => !names.some((name) => pattern.test(name)))).toEqual([])
})

test.each([
  ['a Git LFS pointer in place of merges.txt', 'lfs-pointer'],
  ['a Git LFS pointer in place of vocab.json', 'lfs-pointer'],
  ['a Git LFS pointer in place of an index', 'lfs-pointer'],
  ['a page in place of merges.txt', 'html-page'],
  ['an empty weight file', 'empty-file'],
  ['a compressed config', 'compressed-file'],
  ['a pickle under the name of safetensors', 'pickle-file'],
  ['a shard that is missing', 'shard-missing'],
])('%s is called by its name', (name, code) => {
  const [item, error] = [...errors].find(([candidate]) => candidate.name === name) ?? []
  expect(item?.judged).toBe('error')
  expect(error).toMatchObject({ code })
})
