/**
 * Several Gemms of one input as one dispatch: queries, keys and values of an attention, which are often too small to fill a GPU alone. The kernel is
 * onnxruntime's, with a third axis of workgroups that selects the weight, the bias and the result. All results are written.
 * Its tiles are Gemm's (matrix-products.ts) or the larger ones of product-tiles.ts, and as in Gemm, the products take almost all of the time.
 */

import { bufferAt, overlap, type Dispatch, type Sequence } from './dispatch.js'
import { inTiles, isProduct } from './product-tiles.js'

/** The source of a Gemm, changed to read b and c of the Gemm that the third axis of workgroups selects, and to write its output. Undefined if the source has an unknown form. */
function jointText(code: string, count: number): string | undefined {
  const names = code.includes(' c: array<') ? ['b', 'c', 'output'] : ['b', 'output']
  const type = (name: string) => new RegExp(`@binding\\(\\d\\) var<storage, \\w+> ${name}: array<(.+)>;`).exec(code)?.[1]
  const once = (find: RegExp) => code.match(find)?.length === 1
  const reads = names.filter((name) => name !== 'output')
  const selector = 'let logical_workgroup_id = vec3u('
  if (!reads.every((name) => once(new RegExp(`(?<=[\\s(])${name}\\[[^=;]+\\]`, 'g')))) return undefined
  if (!once(/^ *output\[i2o_output\(indices\)\]=value;$/gm) || !once(/let logical_workgroup_id = vec3u\(/g)) return undefined
  let binding = 1
  const declarations: string[] = []
  for (const name of names)
    for (let i = 0; i < count; i++)
      declarations.push(
        `@group(0) @binding(${binding++}) var<storage, ${name === 'output' ? 'read_write' : 'read'}> ${name}${i}: array<${type(name)}>;`,
      )
  const cases = (body: (i: number) => string) =>
    `switch which { ${Array.from({ length: count - 1 }, (_, i) => `case ${i + 1}u: { ${body(i + 1)} }`).join(' ')} default: { ${body(0)} } }`
  const accessors = reads.map((name) => `fn read_${name}(i: u32) -> ${type(name)} { ${cases((i) => `return ${name}${i}[i];`)} }`)
  let text = code
    .replaceAll(/^@group\(0\) @binding\(\d\) var<storage, \w+> (?:b|c|output): .*\n/gm, '')
    .replace(
      /^@group\(0\) @binding\(\d\) var<uniform>/m,
      `${declarations.join('\n')}\n@group(0) @binding(${binding}) var<uniform>`,
    )
    .replace(
      /^ *output\[i2o_output\(indices\)\]=value;$/m,
      `  let at = i2o_output(indices);\n  ${cases((i) => `output${i}[at]=value;`)}`,
    )
    .replace(selector, `which = logical_workgroup_id_z;\n  ${selector}`)
    .replace('@compute', `${accessors.join('\n')}\n\n@compute`)
    .replace(/^alias a_value_t/m, 'var<private> which: u32;\n$&')
  for (const name of reads)
    text = text.replaceAll(new RegExp(`(?<=[\\s(])${name}\\[([^=;]+)\\](?=[;)])`, 'g'), `read_${name}($1)`)
  return text
}

const texts = new Map<string, string | undefined>()

function textOf(code: string, count: number): string | undefined {
  const key = `${count} ${code}`
  if (!texts.has(key)) texts.set(key, jointText(code, count))
  return texts.get(key)
}

/** Whether two Gemms have the same kernel, input and sizes. */
function isSame(one: Dispatch, other: Dispatch): boolean {
  return (
    one.pipeline === other.pipeline &&
    bufferAt(one, 0) === bufferAt(other, 0) &&
    one.grid.join() === other.grid.join() &&
    one.uniforms?.words.join() === other.uniforms?.words.join()
  )
}

/** Gemms of one input. */
export const jointProducts: Sequence = (held, limits) => {
  const [first] = held
  if (!isProduct(first) || !held.every((one) => isSame(first, one))) return undefined
  const each = first.storage.length - 1
  const most = Math.floor((limits.maxStorageBuffersPerShaderStage - 1) / each)
  if (held.length > most || first.grid[2] !== 1) return undefined
  const open = held.length < most
  if (held.length < 2) return { open }
  const code = textOf(first.kernel.code, held.length)
  const at = (index: number) => held.flatMap(({ storage }) => storage[index] ?? [])
  const [inputs, outputs] = [[...at(0).slice(0, 1), ...at(1), ...(each === 3 ? at(2) : [])], at(each)]
  if (code === undefined || overlap(inputs, outputs)) return undefined
  const bindings = [...inputs, ...outputs, first.uniforms.binding]
  return { open, launch: { label: `Gemm of ${held.length}`, bindings, ...inTiles(first, code, held.length) } }
}
