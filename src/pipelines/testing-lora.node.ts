/** For tests in Node: the files and cases of fixtures/lora and fixtures/lora-forms. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FileInRepository } from '../checkpoint/layouts/single-file/single-file.js'
import { float32File, memoryRepository } from '../checkpoint/testing.js'
import type { FixtureCase } from './testing-cases.js'
import { fixtures, readReference } from './testing.node.js'
import type { CapturedTensors } from './types.js'

/** One entry of cases.json: LoRAs in the order in which they are loaded, then the weights of `set_adapters` and the names of `delete_adapters`, if they are called. */
export interface LoraCase extends FixtureCase {
  readonly fixture: string
  readonly loras: readonly { readonly file: string }[]
  readonly weights?: readonly number[]
  readonly deleted?: readonly string[]
}

/** The folders of fixtures: `lora` has each style of keys; `lora-forms` has the names of original code, and DoRA, LoHa and LoKr. */
const folders = ['lora', 'lora-forms'].map((name) => join(fixtures, name))

/** The cases with their references. */
export function readLoraCases(): { readonly item: LoraCase; readonly reference: CapturedTensors }[] {
  return folders.flatMap((folder) => {
    const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8')) as LoraCase[]
    return cases.map((item, k) => ({ item, reference: readReference(join(folder, `reference-${k}.safetensors`)) }))
  })
}

/** A file of float32 tensors of these shapes, with values in −1…1. */
export function loraOf(shapes: Readonly<Record<string, readonly number[]>>, path = 'x.safetensors'): FileInRepository {
  const file = float32File(shapes)
  const view = new DataView(file.buffer)
  for (let at = 8 + Number(view.getBigUint64(0, true)); at < file.byteLength; at += 4) view.setFloat32(at, Math.sin(at), true)
  return { repository: memoryRepository({ [path]: file }), path }
}

/** A LoRA file by its name without the ending. */
export function loraFile(name: string): FileInRepository {
  const path = `${name}.safetensors`
  const found = folders.map((folder) => join(folder, path)).find((file) => existsSync(file)) ?? path
  return { repository: memoryRepository({ [path]: readFileSync(found) }), path }
}
