/**
 * `node scripts/run.mjs bench/full-size-blocks.ts [--model t5-xxl|qwen3-4b|flux2-klein-4b] [--blocks N] [--dtype q8|q4] [--max-memory SIZE] [--tokens N] [--runs N]`
 *
 * Runs a published network of many blocks at its real dimensions, with random float16 weights in shards, in headless Chromium, block by
 * block within a budget. The shards are downloaded from the Hub look-alike and quantized while they stream through the browser's cache. Of
 * Qwen3-4B it runs the 35 layers that Z-Image uses; `--blocks 27` runs the 27 layers that FLUX.2-klein uses. Takes minutes and up to 13 GB
 * of disk; it is not part of `npm test`.
 */

import { parseArgs } from 'node:util'
import type { Config } from '../src/checkpoint/types.js'
import { parseMemorySize } from '../src/memory/budget.js'
import type { Shapes } from '../src/onnx/types.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { benchNetwork } from './memory/full-size-network.js'
import { publishedModel } from './memory/weight-tables.js'
import { virtualCheckpoint } from './quantize/virtual-checkpoint.js'

interface Model {
  readonly table: string
  /** The component's name, and the beginning of its weight files' names. */
  readonly name: string
  readonly base: 'model' | 'diffusion_pytorch_model'
  /** The prefixes of the blocks' names, each with the keys of the config that say how many such blocks there are. */
  readonly blocks: Readonly<Record<string, readonly string[]>>
  /** The pipeline runs at most this many blocks of each kind. */
  readonly most: number
  /** Tensors that the graph does not read. */
  readonly left?: RegExp
  readonly shapes: (config: Config, tokens: number) => Shapes
}

const embeddings = (key: string) => (config: Config, tokens: number) => ({ inputs_embeds: [1, tokens, Number(config[key])] })

const models: Readonly<Record<string, Model>> = {
  't5-xxl': {
    table: 't5-xxl-encoder',
    name: 'text_encoder_3',
    base: 'model',
    blocks: { 'encoder.block.': ['num_layers', 'num_decoder_layers'] },
    most: 24,
    shapes: embeddings('d_model'),
  },
  'qwen3-4b': {
    table: 'qwen3-4b',
    name: 'text_encoder',
    base: 'model',
    blocks: { 'model.layers.': ['num_hidden_layers'] },
    most: 35,
    left: /embed_tokens|lm_head/,
    shapes: embeddings('hidden_size'),
  },
  'flux2-klein-4b': {
    table: 'flux2-klein-4b-transformer',
    name: 'transformer',
    base: 'diffusion_pytorch_model',
    blocks: { 'transformer_blocks.': ['num_layers'], 'single_transformer_blocks.': ['num_single_layers'] },
    most: 20,
    // The smallest latents: those of an image of 64 × 64 pixels.
    shapes: (config, tokens) => ({
      hidden_states: [1, Number(config['in_channels']), 4, 4],
      encoder_hidden_states: [1, tokens, Number(config['joint_attention_dim'])],
    }),
  },
}

/** Runs the benchmark. Returns 1 if a run used more memory than planned. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 't5-xxl' },
      blocks: { type: 'string', default: '100' },
      dtype: { type: 'string', default: 'q4' },
      'max-memory': { type: 'string', default: '1GB' },
      tokens: { type: 'string', default: '1' },
      runs: { type: 'string', default: '1' },
    },
  })
  const model = models[values.model]
  if (model === undefined)
    throw new Error(`--model is ${JSON.stringify(values.model)}; allowed: ${Object.keys(models).join(', ')}`)
  const { _class_name: className, config, tensors } = publishedModel(model.table)
  const most = Math.min(Number(values.blocks), model.most)
  const isKept = (name: string) => {
    const stem = Object.keys(model.blocks).find((beginning) => name.startsWith(beginning))
    return stem === undefined ? model.left?.test(name) !== true : Number.parseInt(name.slice(stem.length), 10) < most
  }
  const kept = Object.entries(tensors).filter(([name]) => isKept(name))
  const counts = Object.values(model.blocks).flatMap((keys) =>
    keys.map((key) => [key, Math.min(most, Number(config[key] ?? most))] as const),
  )
  const bytes = kept.reduce((sum, [, shape]) => sum + shape.reduce((product, dim) => product * dim, 2), 0)
  return benchNetwork(
    virtualCheckpoint(kept, 5e9, model.base),
    {
      name: model.name,
      className,
      config: { ...config, ...Object.fromEntries(counts) },
      shapes: model.shapes(config, Number(values.tokens)),
      quantization: values.dtype === 'q8' ? 'q8' : 'q4',
      maxMemory: parseMemorySize(values['max-memory'], '--max-memory'),
      runs: Number(values.runs),
    },
    `${className}, ${counts.map(([key, count]) => `${key} ${count}`).join(', ')}, ${formatBytes(bytes)} of float16, ${values.tokens} tokens`,
  )
}
