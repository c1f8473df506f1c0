/** Reads the list of tensors of a file in any supported format: safetensors or GGUF. */

import type { ByteSource, ReadOptions } from '../hub/types.js'
import { isGguf, readGguf, type TensorFile } from './gguf.js'
import { readSafetensorsHeader } from './safetensors.js'

/**
 * Reads the header of a file. A file whose name does not end in `.safetensors` is read as GGUF if its first bytes are GGUF's.
 * @throws CheckpointError `safetensors-*`, `gguf-header`, …; UnsupportedError `gguf-type`
 */
export async function readTensorFile(source: ByteSource, file: string, options: ReadOptions = {}): Promise<TensorFile> {
  const isKnown = file.endsWith('.safetensors') || source.byteLength < 4
  if (!isKnown && isGguf(await source.read({ begin: 0, end: 4 }, options))) return readGguf(source, file, options)
  const { tensors, metadata } = await readSafetensorsHeader(source, file, options)
  return { tensors: new Map([...tensors].map(([name, header]) => [name, { ...header, source }])), metadata }
}
