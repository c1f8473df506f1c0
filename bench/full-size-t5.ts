/**
 * `node scripts/run.mjs bench/full-size-t5.ts [--blocks N] [--dtype q8|q4] [--max-memory SIZE] [--tokens N] [--runs N]`
 *
 * Runs T5-xxl's encoder, 4.7 billion random weights in two float16 shards, in headless Chromium, block by block within a budget. The shards are downloaded from the Hub
 * look-alike and quantized while they stream through the browser's cache. Takes minutes and about 13 GB of disk; it is not part
 * of `npm test`.
 */

import { parseArgs } from 'node:util'
import { parseMemorySize } from '../src/memory/budget.js'
import { formatBytes } from '../src/util/format-bytes.js'
import { benchNetwork } from './memory/full-size-network.js'
import { publishedModel } from './memory/weight-tables.js'
import { virtualCheckpoint } from './quantize/virtual-checkpoint.js'

/** Runs the benchmark. Returns 1 if a run used more memory than planned. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      blocks: { type: 'string', default: '24' },
      dtype: { type: 'string', default: 'q4' },
      'max-memory': { type: 'string', default: '1GB' },
      tokens: { type: 'string', default: '1' },
      runs: { type: 'string', default: '1' },
    },
  })
  const { _class_name: className, config, tensors } = publishedModel('t5-xxl-encoder')
  const kept = Object.entries(tensors).filter(
    ([name]) => Number(/^encoder\.block\.(\d+)\./.exec(name)?.[1] ?? 0) < Number(values.blocks),
  )
  const bytes = kept.reduce((sum, [, shape]) => sum + shape.reduce((product, dim) => product * dim, 2), 0)
  return benchNetwork(
    virtualCheckpoint(kept, 5e9),
    {
      name: 'text_encoder_3',
      className,
      config: { ...config, num_layers: Number(values.blocks), num_decoder_layers: Number(values.blocks) },
      shapes: { inputs_embeds: [1, Number(values.tokens), Number(config.d_model)] },
      quantization: values.dtype === 'q8' ? 'q8' : 'q4',
      maxMemory: parseMemorySize(values['max-memory'], '--max-memory'),
      runs: Number(values.runs),
    },
    `${className}, ${values.blocks} blocks, ${formatBytes(bytes)} of float16, ${values.tokens} tokens`,
  )
}
