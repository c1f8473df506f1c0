/** Quantizes weights and writes the numbers that their codes stand for, so that judge.py can compute with them. */

import { open, type FileHandle } from 'node:fs/promises'
import { DiskRepository } from '../../cli/disk-repository.js'
import {
  dequantizeRows,
  isQuantizable,
  optionsFor,
  quantizedLayout,
  quantizeRows,
} from '../../src/checkpoint/transforms/quantize-rows.js'
import type { QuantizationName } from '../../src/pipelines/types.js'
import { float16ToFloat32 } from '../../src/util/half.js'
import { readNetwork } from './read-network.js'

/**
 * Quantizes the network in the folder and writes `dequantized-….safetensors`: the quantized weights, as the float32 numbers that their codes
 * stand for.
 */
export async function writeDequantized(folder: string, quantization: QuantizationName): Promise<void> {
  const repository = new DiskRepository(folder)
  const file = await open(`${folder}/dequantized-${quantization}.safetensors`, 'w')
  try {
    await write(repository, quantization, file)
  } finally {
    await file.close()
    await repository.close()
  }
}

async function write(repository: DiskRepository, quantization: QuantizationName, file: FileHandle): Promise<void> {
  const { model, table } = await readNetwork(repository)
  const how = { bits: quantization === 'q8' ? 8 : 4, blockSize: 32, sensitive: model.sensitive } as const
  const tensors = [...table.values()].filter((entry) => isQuantizable(entry, how))
  const header: Record<string, unknown> = {}
  let end = 0
  for (const { name, shape } of tensors) {
    const begin = end
    end += shape.reduce((product, dim) => product * dim, 4)
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] }
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  await file.write(Buffer.concat([length, text]))
  for (const { name, shape, source, begin, end: last } of tensors) {
    const layout = quantizedLayout(shape, optionsFor(name, how))
    const halves = new Uint16Array((await source.read({ begin, end: last })).buffer)
    const values = dequantizeRows(quantizeRows(float16ToFloat32(halves), layout, name), layout)
    await file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  }
}
