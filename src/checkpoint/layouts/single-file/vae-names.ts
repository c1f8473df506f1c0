/**
 * The names of an autoencoder's tensors in single files, which are those of CompVis' taming-transformers: the up blocks are numbered from
 * the end, and the middle attention is made of convolutions. Which tensors diffusers takes: `convert_ldm_vae_checkpoint`.
 */

import type { OriginalNames, TensorPiece, Pieces } from './tensor-pieces.js'

const attention: Readonly<Record<string, string>> = { norm: 'group_norm', q: 'to_q', k: 'to_k', v: 'to_v', proj_out: 'to_out.0' }

/** An AutoencoderKL whose tensors begin with this prefix. */
export const vaeNames = (prefix: string): OriginalNames => ({
  id: 'ldm-vae-1',
  prefix,
  marker: 'decoder.conv_in.weight',
  pieces: ({ up_block_types: types }, originals) =>
    vaePieces(Array.isArray(types) ? types.length : countUpBlocks(originals.keys())),
})

function countUpBlocks(names: Iterable<string>): number {
  let count = 0
  for (const name of names) count = Math.max(count, Number(/^decoder\.up\.(\d+)\./.exec(name)?.[1] ?? -1) + 1)
  return count
}

const vaePieces =
  (upBlocks: number): Pieces =>
  (name) => {
    if (/^(?:post_)?quant_conv\./.test(name)) return whole(name)
    const match = /^((?:en|de)coder)\.(.+)$/.exec(name)
    const [, half, rest] = match ?? []
    if (half === undefined || rest === undefined) return []
    if (/^conv_(?:in|out)\./.test(rest)) return whole(name)
    if (rest.startsWith('norm_out.')) return whole(`${half}.conv_${rest}`)
    const [, up, layer, inner] = /^(?:down|up)\.(\d+)\.(block\.\d+|downsample|upsample)\.(.+)$/.exec(rest) ?? []
    if (up !== undefined && layer !== undefined && inner !== undefined) {
      const path = half === 'encoder' ? `encoder.down_blocks.${up}` : `decoder.up_blocks.${upBlocks - 1 - Number(up)}`
      return whole(
        `${path}.${layer.startsWith('block.') ? layer.replace('block', 'resnets') : `${layer}rs.0`}.${shortcut(inner)}`,
      )
    }
    const [, block, resnet] = /^mid\.block_([12])\.(.+)$/.exec(rest) ?? []
    if (block !== undefined && resnet !== undefined)
      return whole(`${half}.mid_block.resnets.${Number(block) - 1}.${shortcut(resnet)}`)
    const [, projection, kind] = /^mid\.attn_1\.(norm|q|k|v|proj_out)\.(weight|bias)$/.exec(rest) ?? []
    if (projection === undefined || kind === undefined) return []
    return [{ name: `${half}.mid_block.attentions.0.${attention[projection]}.${kind}`, part: 'squeezed' }]
  }

const whole = (name: string): readonly TensorPiece[] => [{ name, part: 'whole' }]

const shortcut = (inner: string) => inner.replace('nin_shortcut', 'conv_shortcut')
