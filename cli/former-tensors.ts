import type { WeightTable } from '../src/checkpoint/types.js'
import { isFloatDType } from '../src/checkpoint/element-types.js'

/** AttentionBlock's Linear layers before diffusers 0.15. Published autoencoders still have them; diffusers does not know them in shards. */
const formerAttention: Readonly<Record<string, string>> = { query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0' }

/** The table under today's names, in the same order. The same table where nothing changes. Source: diffusers `_convert_deprecated_attention_blocks`. */
export function renameFormer(className: string, table: WeightTable): WeightTable {
  if (className !== 'AutoencoderKL') return table
  const renamed = new Map(
    [...table.values()].map((entry) => {
      const name = entry.name.replace(
        /^((?:encoder|decoder)\.mid_block\.attentions\.\d+\.)(query|key|value|proj_attn)(\.(?:weight|bias))$/,
        (_, before: string, layer: string, after: string) => `${before}${formerAttention[layer] ?? layer}${after}`,
      )
      return [name, name === entry.name ? entry : { ...entry, name }] as const
    }),
  )
  // Two names for one place: then it is no checkpoint of before.
  return renamed.size === table.size ? renamed : table
}

/** The table without buffers of positions (0, 1, 2 …), which CLIP was saved with before transformers 4.31. The same table where there are none. */
export function dropFormer(className: string, table: WeightTable): WeightTable {
  if (!/^CLIP|SafetyChecker$/.test(className)) return table
  const kept = [...table].filter(([name, { dtype }]) => isFloatDType(dtype) || !/(?:^|\.)embeddings\.position_ids$/.test(name))
  return kept.length === table.size ? table : new Map(kept)
}

/** How many tensors of `table` have another name in `renamed`. */
export function countRenamed(table: WeightTable, renamed: WeightTable): number {
  return [...table.keys()].filter((name) => !renamed.has(name)).length
}
