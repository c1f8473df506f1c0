/**
 * diffusers' JointTransformerBlock: the MMDiT block of SD3 and SD3.5, in which image and prompt tokens attend to each other.
 * Weight names are relative to the block. Tokens are [batch, tokens, channels] here, because each row of a batch has its own modulation.
 */

import type { GraphBuilder } from '../../onnx/graph-builder.js'
import { gelu } from '../../onnx/ops-math.js'
import { multiHeadAttention } from '../../onnx/ops-network.js'
import { concat, dimension, split } from '../../onnx/ops-shape.js'
import type { ValueInfo } from '../../onnx/types.js'
import { toCompute, tokenLinear } from './layers.js'
import {
  adaLayerNormContinuous,
  addGated,
  branchParts,
  modulate,
  modulateShared,
  modulations,
  plainNorm,
  twoBranchParts,
} from './modulation.js'
import { headNorm } from './rms-norm.js'

/** How one block is built. Queries, keys and values are heads · headSize wide; with `qkNorm`, queries and keys have RMS norms. */
export interface JointBlockSettings {
  readonly heads: number
  readonly headSize: number
  readonly qkNorm: boolean
  /** Whether the block has a second attention, of image tokens to image tokens only (SD3.5). */
  readonly dualAttention: boolean
  /** True for the last block, after which nothing uses the prompt tokens. */
  readonly contextPreOnly: boolean
}

/** The epsilon of the RMS norms of queries and keys. */
const epsilon = 1e-6

/** The results of AdaLayerNormZero and SD35AdaLayerNormZeroX; `second`: the input and the gate of the second attention. */
interface AdaptiveNorm {
  readonly normed: ValueInfo
  readonly gate: ValueInfo
  readonly shiftMlp: ValueInfo
  readonly factorMlp: ValueInfo
  readonly gateMlp: ValueInfo
  readonly second: { readonly normed: ValueInfo; readonly gate: ValueInfo } | undefined
}

function adaLayerNormZero(graph: GraphBuilder, x: ValueInfo, temb: ValueInfo, name: string, dual: boolean): AdaptiveNorm {
  const plain = plainNorm(graph, x)
  if (!dual) {
    const [shift, factor, gate, shiftMlp, factorMlp, gateMlp] = modulations(
      graph,
      temb,
      `${name}.linear`,
      dimension(x, 2),
      twoBranchParts,
    )
    const normed = toCompute(graph, modulate(graph, plain, shift, factor))
    return { normed, gate, shiftMlp, factorMlp, gateMlp, second: undefined }
  }
  const parts = modulations(graph, temb, `${name}.linear`, dimension(x, 2), [...twoBranchParts, ...branchParts] as const)
  const [shift, factor, gate, shiftMlp, factorMlp, gateMlp, secondShift, secondFactor, secondGate] = parts
  const normed = toCompute(graph, modulateShared(graph, plain, shift, factor))
  const second = { normed: toCompute(graph, modulateShared(graph, plain, secondShift, secondFactor)), gate: secondGate }
  return { normed, gate, shiftMlp, factorMlp, gateMlp, second }
}

/** Query, key and value of the image tokens or of the prompt tokens. */
interface Projections {
  readonly query: ValueInfo
  readonly key: ValueInfo
  readonly value: ValueInfo
}

/** Computes query, key and value of `x`, with RMS norms of each head if the network has them. */
function projections(
  graph: GraphBuilder,
  x: ValueInfo,
  names: Readonly<Record<keyof Projections, string>>,
  norms: Readonly<Record<'query' | 'key', string>>,
  settings: JointBlockSettings,
): Projections {
  const inner = settings.heads * settings.headSize
  const normed = (value: ValueInfo, name: string) =>
    settings.qkNorm ? headNorm(graph, value, name, settings.headSize, epsilon) : value
  return {
    query: normed(tokenLinear(graph, x, names.query, inner), norms.query),
    key: normed(tokenLinear(graph, x, names.key, inner), norms.key),
    value: tokenLinear(graph, x, names.value, inner),
  }
}

const ownNames = { query: 'to_q', key: 'to_k', value: 'to_v' } as const
const ownNorms = { query: 'norm_q', key: 'norm_k' } as const
const addedNames = { query: 'add_q_proj', key: 'add_k_proj', value: 'add_v_proj' } as const
const addedNorms = { query: 'norm_added_q', key: 'norm_added_k' } as const

/** FeedForward with tanh Gelu. */
function feedForward(graph: GraphBuilder, x: ValueInfo, name: string): ValueInfo {
  const channels = dimension(x, 2)
  return tokenLinear(
    graph,
    gelu(graph, tokenLinear(graph, x, `${name}.net.0.proj`, 4 * channels), 'tanh'),
    `${name}.net.2`,
    channels,
  )
}

/**
 * diffusers' JointTransformerBlock, on the residual streams of image tokens and prompt tokens [batch, tokens, channels], float32 in every
 * graph. `temb`: SiLU of the time embedding. In the last block, `context` of the result is undefined.
 */
export function jointTransformerBlock(
  graph: GraphBuilder,
  hidden: ValueInfo,
  context: ValueInfo,
  temb: ValueInfo,
  settings: JointBlockSettings,
): { readonly hidden: ValueInfo; readonly context: ValueInfo | undefined } {
  const channels = dimension(hidden, 2)
  const image = adaLayerNormZero(graph, hidden, temb, 'norm1', settings.dualAttention)
  const prompt = settings.contextPreOnly ? undefined : adaLayerNormZero(graph, context, temb, 'norm1_context', false)
  const promptNormed = prompt?.normed ?? adaLayerNormContinuous(graph, context, temb, 'norm1_context')

  const [attended, promptAttended] = graph.scoped('attn', () => {
    const own = projections(graph, image.normed, ownNames, ownNorms, settings)
    const added = projections(graph, promptNormed, addedNames, addedNorms, settings)
    const joined = (key: keyof Projections) => concat(graph, [own[key], added[key]], 1)
    const operands = { query: joined('query'), key: joined('key'), value: joined('value') }
    const both = multiHeadAttention(graph, operands, settings.heads)
    const [ours, theirs] = split(graph, both, [dimension(hidden, 1), dimension(context, 1)], 1)
    if (ours === undefined || theirs === undefined) throw new Error('Split returned too few parts')
    return [
      tokenLinear(graph, ours, 'to_out.0', channels),
      prompt === undefined ? undefined : tokenLinear(graph, theirs, 'to_add_out', channels),
    ] as const
  })

  let state = addGated(graph, hidden, image.gate, attended)
  const { second } = image
  if (second !== undefined) {
    const alone = graph.scoped('attn2', () => {
      const own = projections(graph, second.normed, ownNames, ownNorms, settings)
      return tokenLinear(graph, multiHeadAttention(graph, own, settings.heads), 'to_out.0', channels)
    })
    state = addGated(graph, state, second.gate, alone)
  }
  const finish = (x: ValueInfo, adaptive: AdaptiveNorm, name: string) =>
    addGated(
      graph,
      x,
      adaptive.gateMlp,
      feedForward(graph, toCompute(graph, modulate(graph, plainNorm(graph, x), adaptive.shiftMlp, adaptive.factorMlp)), name),
    )
  state = finish(state, image, 'ff')
  if (prompt === undefined || promptAttended === undefined) return { hidden: state, context: undefined }
  return { hidden: state, context: finish(addGated(graph, context, prompt.gate, promptAttended), prompt, 'ff_context') }
}
