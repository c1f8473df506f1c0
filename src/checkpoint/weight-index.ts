/**
 * `*.safetensors.index.json`: which shard holds which tensor. Pure parsing. The shard names are untrusted and become file paths,
 * so only plain file names are accepted.
 */

import { CheckpointError } from '../errors.js'
import { isJsonObject, parseJson } from '../util/parse-json.js'

/** Limits on an index. parseJson also limits the memory that a parsed index takes, to enough for 50,000 tensors. */
export const weightIndexLimits = { bytes: 12_500_000, shards: 10_000, nameLength: 255 } as const

/** Tensor name → file name of its shard, in the folder of the index. */
export type WeightMap = ReadonlyMap<string, string>

/** Parses an index. @throws CheckpointError `index-*`, `shard-name`, `json-*` */
export function parseWeightIndex(bytes: Uint8Array, file: string): WeightMap {
  const json = parseJson(bytes, { file, maxBytes: weightIndexLimits.bytes, duplicateKeys: 'last' })
  const map = isJsonObject(json) ? json.weight_map : undefined
  if (!isJsonObject(map)) throw new CheckpointError('index-weight-map', `${file} has no object weight_map.`, { file })
  const entries = Object.entries(map)
  if (entries.length === 0) throw new CheckpointError('index-count', `weight_map in ${file} has no tensors.`, { file })
  const shards = new Set<string>()
  const result = new Map<string, string>()
  for (const [name, shard] of entries) {
    if (typeof shard !== 'string')
      throw new CheckpointError(
        'index-weight-map',
        `weight_map in ${file} gives no shard name for ${JSON.stringify(name.slice(0, 200))}.`,
        {
          file,
          tensor: name.slice(0, 200),
        },
      )
    if (!shards.has(shard)) {
      checkShardName(shard, file)
      shards.add(shard)
      if (shards.size > weightIndexLimits.shards)
        throw new CheckpointError('index-shards', `${file} names more than ${weightIndexLimits.shards} shards.`, {
          file,
          allowed: weightIndexLimits.shards,
        })
    }
    result.set(name, shard)
  }
  return result
}

/**
 * Refuses every name that is not a plain `*.safetensors` file name, also if it is percent-encoded any number of times.
 * @throws CheckpointError `shard-name`
 */
export function checkShardName(name: string, file: string): void {
  const refuse = (why: string): never => {
    const shown = name.slice(0, weightIndexLimits.nameLength)
    throw new CheckpointError('shard-name', `${file} names the shard ${JSON.stringify(shown)}: ${why}.`, { file, shard: shown })
  }
  if (name.length === 0 || name.length > weightIndexLimits.nameLength)
    refuse(`a shard name has 1 to ${weightIndexLimits.nameLength} characters`)
  if (!name.isWellFormed()) refuse('it is not well-formed Unicode')
  let decoded = name
  // Each round shortens the name, so the loop ends.
  for (;;) {
    if (/\p{Cc}/u.test(decoded)) refuse('it has a control character')
    if (/[/\\]/.test(decoded)) refuse('it has a path separator')
    if (decoded.includes(':')) refuse('it has a colon')
    if (decoded.startsWith('.') || decoded.includes('..')) refuse('it leads out of its folder')
    if (!decoded.includes('%')) break
    let next: string
    try {
      next = decodeURIComponent(decoded)
    } catch {
      return refuse('it has a broken percent encoding')
    }
    if (next === decoded) break
    decoded = next
  }
  if (/[?#]/.test(decoded)) refuse('it has a query or a fragment')
  if (!name.endsWith('.safetensors')) refuse('it does not end in .safetensors')
}
