/** Reads the JSON files of a checkpoint: `config.json`, `model_index.json`, `tokenizer_config.json` and others. Checks their form, not their values. */

import { CheckpointError } from '../errors.js'
import type { OpenOptions, ByteSource, ReadOptions } from '../hub/types.js'
import { isJsonObject, parseJson, type JsonObject } from '../util/parse-json.js'

/** The most bytes that a config may have. */
export const maxConfigBytes = 10_000_000

/** A repository, or anything else that opens files by path. */
interface OpensFiles {
  open(path: string, options?: OpenOptions): Promise<ByteSource>
}

/** Reads a JSON file of a repository as an object. @throws HubError `file-too-large`; CheckpointError `json-*`, `config-not-object` */
export async function readConfig(files: OpensFiles, path: string, options: ReadOptions = {}): Promise<JsonObject> {
  const source = await files.open(path, { ...options, maxBytes: maxConfigBytes })
  if (source.byteLength > maxConfigBytes)
    throw new CheckpointError(
      'json-too-large',
      `${path} is ${source.byteLength} bytes long; at most ${maxConfigBytes} are read.`,
      {
        file: path,
        bytes: source.byteLength,
        allowed: maxConfigBytes,
      },
    )
  return parseConfig(await source.read({ begin: 0, end: source.byteLength }, options), path)
}

/**
 * Applies `_use_default_values` to the config of a diffusers class: the returned `config` lacks the keys in this list, and `defaulted` has
 * their values. diffusers creates this list in memory, but also obeys a list in a file.
 */
export function withoutDefaulted(config: JsonObject): { readonly config: JsonObject; readonly defaulted: JsonObject } {
  const { _use_default_values: listed = [], ...given } = config
  // Python's `in`: an element of a list, or a part of a text.
  const isListed = (key: string) => (Array.isArray(listed) || typeof listed === 'string') && listed.includes(key)
  const entries = Object.entries(given)
  return {
    config: Object.fromEntries(entries.filter(([key]) => !isListed(key))),
    defaulted: Object.fromEntries(entries.filter(([key]) => isListed(key))),
  }
}

/** Limits of a JSON file: see `parseJson`. */
export interface JsonLimits {
  readonly maxBytes: number
  readonly maxTreeBytes?: number | undefined
}

/** Parses a config. Keys keep diffusers' names; `Infinity` and `NaN` are read as Python writes them. */
export function parseConfig(bytes: Uint8Array, file: string, limits: JsonLimits = { maxBytes: maxConfigBytes }): JsonObject {
  const json = parseJson(bytes, { file, ...limits, duplicateKeys: 'last' })
  if (!isJsonObject(json)) throw new CheckpointError('config-not-object', `${file} does not contain a JSON object.`, { file })
  return json
}
