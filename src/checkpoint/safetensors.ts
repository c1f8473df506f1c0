/**
 * The safetensors format: eight bytes of header length, a JSON header, then the tensors' bytes without gaps. Reads headers only, and
 * checks every value in them against the file before it allocates memory for a tensor.
 * Source: https://github.com/huggingface/safetensors#format
 */

import { CheckpointError, isAquatintError, type CheckpointErrorCode } from '../errors.js'
import type { ByteSource, ReadOptions } from '../hub/types.js'
import { dtypeBytes } from '../util/dtype-bytes.js'
import { knownContentError, recognizedBytes } from '../util/known-content.js'
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from '../util/parse-json.js'
import type { SafetensorsDType, TensorEntry } from './types.js'

/** Limits on headers. parseJson also limits the memory that a parsed header takes, to enough for 15,000 tensors. */
export const safetensorsLimits = {
  headerBytes: 12_500_000,
  nameLength: 512,
  rank: 64,
} as const

/** A tensor as a header describes it; offsets count from the start of the file. */
export type TensorHeader = Omit<TensorEntry, 'source'>

/** A parsed header: the tensors by name, and the texts of `__metadata__`. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorHeader>
  readonly metadata: ReadonlyMap<string, string>
}

/**
 * Reads a file's header in two reads.
 * @throws CheckpointError `safetensors-*`, `json-*`; `lfs-pointer`, `html-page` and others for a file that holds something else, see
 *   known-content.ts
 */
export async function readSafetensorsHeader(
  source: ByteSource,
  file: string,
  options: ReadOptions = {},
): Promise<SafetensorsHeader> {
  try {
    return await readHeader(source, file, options)
  } catch (error) {
    if (!isAquatintError(error, 'safetensors-header-length', 'safetensors-header-start', 'safetensors-too-short')) throw error
    const head = await source.read({ begin: 0, end: Math.min(recognizedBytes, source.byteLength) }, options)
    throw knownContentError(head, file) ?? error
  }
}

async function readHeader(source: ByteSource, file: string, options: ReadOptions): Promise<SafetensorsHeader> {
  if (source.byteLength < 8) throw tooShort(file, source.byteLength, 8)
  const length = parseHeaderLength(await source.read({ begin: 0, end: 8 }, options), file, source.byteLength)
  return parseSafetensorsHeader(await source.read({ begin: 8, end: 8 + length }, options), file, source.byteLength)
}

/** The header's length from the first eight bytes, checked against the limit and the file's length. */
export function parseHeaderLength(bytes: Uint8Array, file: string, fileBytes: number): number {
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(safetensorsLimits.headerBytes) || length < 2n)
    throw new CheckpointError(
      'safetensors-header-length',
      `${file} says that its header is ${length} bytes long; allowed are 2 to ${safetensorsLimits.headerBytes}.`,
      { file, length: String(length), allowed: safetensorsLimits.headerBytes },
    )
  if (8 + Number(length) > fileBytes) throw tooShort(file, fileBytes, 8 + Number(length))
  return Number(length)
}

/** Parses and checks a header. `fileBytes` is the length of the whole file, which the tensors must cover exactly. */
export function parseSafetensorsHeader(header: Uint8Array, file: string, fileBytes: number): SafetensorsHeader {
  // The safetensors library reads a header with white space before it.
  const first = header.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)
  if (first !== 0x7b)
    throw new CheckpointError('safetensors-header-start', `The header of ${file} does not start with "{".`, { file })
  const json = parseJson(header, { file, maxBytes: safetensorsLimits.headerBytes, duplicateKeys: 'refuse' })
  if (!isJsonObject(json)) throw new CheckpointError('safetensors-header', `The header of ${file} is not an object.`, { file })
  const dataBegin = 8 + header.byteLength
  const entries: TensorHeader[] = []
  for (const name of Object.keys(json)) {
    if (name !== '__metadata__') entries.push(tensorHeader(name, json[name] ?? null, file, dataBegin, fileBytes))
  }
  checkCoverage(entries, file, dataBegin, fileBytes)
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata: parseMetadata(json, file) }
}

function tooShort(file: string, actual: number, expected: number): CheckpointError {
  return new CheckpointError(
    'safetensors-too-short',
    `${file} is ${actual} bytes long, but its header needs ${expected}: it was cut short. Download or copy it again.`,
    {
      file,
      actual,
      expected,
    },
  )
}

function parseMetadata(json: JsonObject, file: string): ReadonlyMap<string, string> {
  const metadata = json.__metadata__
  // The safetensors library writes an object or nothing, and reads null as nothing.
  if (metadata === undefined || metadata === null) return new Map()
  if (!isJsonObject(metadata))
    throw new CheckpointError('safetensors-metadata', `__metadata__ in ${file} is not an object of strings.`, { file })
  return new Map(
    Object.entries(metadata).map(([key, value]) => {
      if (typeof value !== 'string')
        throw new CheckpointError('safetensors-metadata', `__metadata__ in ${file} is not an object of strings.`, { file })
      return [key, value]
    }),
  )
}

function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(dtypeBytes, value)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function tensorHeader(name: string, value: JsonValue, file: string, dataBegin: number, fileBytes: number): TensorHeader {
  const shown = name.slice(0, safetensorsLimits.nameLength)
  const wrong = (code: CheckpointErrorCode, what: string) =>
    new CheckpointError(code, `Tensor ${JSON.stringify(shown)} in ${file}: ${what}.`, { file, tensor: shown })
  if (!isJsonObject(value)) throw wrong('safetensors-tensor', 'its entry is not an object')
  const { dtype: dtypeName, shape, data_offsets: offsets } = value
  if (typeof dtypeName !== 'string') throw wrong('safetensors-tensor', 'its dtype is not a string')
  // A tensor of a newer type may be one that no network needs, so it is refused only where it is read.
  const dtype = isDType(dtypeName) && dtypeName !== 'UNKNOWN' ? dtypeName : 'UNKNOWN'
  if (!Array.isArray(shape) || shape.length > safetensorsLimits.rank || !shape.every(isCount))
    throw wrong('safetensors-shape', `its shape is not a list of at most ${safetensorsLimits.rank} whole numbers`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw wrong('safetensors-offsets', 'its data_offsets are not two whole numbers')
  const [begin = 0, end = 0]: readonly number[] = offsets
  if (begin > end || dataBegin + end > fileBytes)
    throw wrong(
      'safetensors-offsets',
      `its bytes ${begin} to ${end} do not lie in the file's ${fileBytes - dataBegin} data bytes`,
    )
  if (dtype === 'UNKNOWN')
    return {
      name: tableName(name),
      dtype,
      dtypeName: dtypeName.slice(0, 40),
      shape,
      begin: dataBegin + begin,
      end: dataBegin + end,
    }
  let bytes = dtypeBytes[dtype]
  // If a dimension is 0, the tensor has no bytes, however large the product of the other dimensions is.
  if (shape.includes(0)) bytes = 0
  for (const dim of bytes === 0 ? [] : shape) {
    bytes *= dim
    if (!Number.isSafeInteger(bytes)) throw wrong('safetensors-size', 'its size in bytes is too large for a file')
  }
  if (end - begin !== bytes)
    throw wrong('safetensors-size', `${dtype} [${shape.join(', ')}] takes ${bytes} bytes, but data_offsets give ${end - begin}`)
  return { name: tableName(name), dtype, shape, begin: dataBegin + begin, end: dataBegin + end }
}

/**
 * A tensor's name in the table. No network has a name that is empty, very long or has control characters: such a name is cut and escaped,
 * so that messages can show it.
 */
function tableName(name: string): string {
  const isPlain = name.length > 0 && name.length <= safetensorsLimits.nameLength && !/\p{Cc}/u.test(name)
  return isPlain ? name : JSON.stringify(name.slice(0, safetensorsLimits.nameLength)).replaceAll(/\p{Cc}/gu, '?')
}

/** The tensors lie side by side from the first data byte to the last: no gap, no overlap. */
function checkCoverage(entries: readonly TensorHeader[], file: string, dataBegin: number, fileBytes: number): void {
  let at = dataBegin
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== at)
      throw new CheckpointError(
        'safetensors-offsets',
        `Tensor ${JSON.stringify(entry.name)} in ${file} begins at byte ${entry.begin}, but the one before it ends at ${at}.`,
        { file, tensor: entry.name, begin: entry.begin, expected: at },
      )
    at = entry.end
  }
  if (at !== fileBytes)
    throw new CheckpointError('safetensors-coverage', `${file} is ${fileBytes} bytes long, but its tensors end at byte ${at}.`, {
      file,
      actual: fileBytes,
      expected: at,
    })
}
