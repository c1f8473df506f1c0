/**
 * The blocks of FLUX.1's transformer, which are those of Chroma too: diffusers' FluxTransformerBlock, in which image and prompt tokens have weights of
 * their own, and FluxSingleTransformerBlock, in which attention and feed-forward are side by side. Weight names are relative to the block. Tokens are
 * [batch, tokens, channels].
 *
 * Between blocks the tokens are float32, also in a float16 graph: the network was trained in bfloat16, and its prompt tokens leave float16's range.
 * diffusers clips them to ±65504 in float16. In float32 neither diffusers nor this graph clips.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { gelu } from '../../onnx/ops-math.js'
import { concat, dimension } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import {
  branch,
  branches,
  branchNorm,
  fluxAttention,
  promptAndImageAttention,
  projections,
  type Branch,
  type FluxAttentionInputs,
  type FluxAttentionSettings,
  type FluxTokens,
} from './flux-attention.js'
import { tokenLinear } from './layers.js'
import { addGated } from './modulation.js'
import { wideLinear } from './wide-linear.js'

export type FluxBlockSettings = Pick<FluxAttentionSettings, 'heads' | 'headSize'>

/** The feed-forward's width as a multiple of the network's, fixed in diffusers. */
const feedForwardRatio = 4

/** Fixed in diffusers: epsilon of all norms, and biases of all Linears. */
const fixed = { epsilon: 1e-6, bias: true } as const

/** FluxTransformerBlock on float32 tokens. `image` and `text`: the modulation rows (modulation.ts) of the image and the text tokens. */
export function fluxTransformerBlock(
  graph: GraphBuilder,
  { hidden, context }: FluxTokens,
  { image, text }: { readonly image: ValueInfo; readonly text: ValueInfo },
  inputs: FluxAttentionInputs,
  settings: FluxBlockSettings,
): FluxTokens {
  const channels = dimension(hidden, 2)
  const [own, added] = [branches(graph, image), branches(graph, text)]
  const attended = graph.scoped('attn', () => {
    const normed = {
      hidden: branchNorm(graph, hidden, own.attention, fixed.epsilon),
      context: branchNorm(graph, context, added.attention, fixed.epsilon),
    }
    const both = promptAndImageAttention(graph, normed, inputs, { ...settings, ...fixed })
    return {
      hidden: wideLinear(graph, both.hidden, 'to_out.0', channels),
      context: wideLinear(graph, both.context, 'to_add_out', channels),
    }
  })
  const feedForward = (x: ValueInfo, feed: Branch, name: string) => {
    const normed = branchNorm(graph, x, feed, fixed.epsilon)
    const inner = tokenLinear(graph, normed, `${name}.net.0.proj`, feedForwardRatio * channels)
    return addGated(graph, x, feed.gate, wideLinear(graph, gelu(graph, inner, 'tanh'), `${name}.net.2`, channels))
  }
  return {
    hidden: feedForward(addGated(graph, hidden, own.attention.gate, attended.hidden), own.feed, 'ff'),
    context: feedForward(addGated(graph, context, added.attention.gate, attended.context), added.feed, 'ff_context'),
  }
}

/** FluxSingleTransformerBlock on float32 tokens of prompt and image, in this order. `rows`: the block's modulation rows (modulation.ts). */
export function fluxSingleTransformerBlock(
  graph: GraphBuilder,
  x: ValueInfo,
  rows: ValueInfo,
  inputs: FluxAttentionInputs,
  settings: FluxBlockSettings,
): ValueInfo {
  const channels = dimension(x, 2)
  const own = branch(graph, rows)
  const normed = branchNorm(graph, x, own, fixed.epsilon)
  const inner = gelu(graph, tokenLinear(graph, normed, 'proj_mlp', feedForwardRatio * channels), 'tanh')
  const attended = graph.scoped('attn', () =>
    fluxAttention(graph, projections(graph, normed, { ...settings, ...fixed }), inputs, settings.heads),
  )
  return addGated(graph, x, own.gate, wideLinear(graph, concat(graph, [attended, inner], 2), 'proj_out', channels))
}
