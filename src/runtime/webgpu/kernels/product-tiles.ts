/**
 * Larger tiles for onnxruntime's Gemm. In onnxruntime's tiles, each of a workgroup's 8 × 8 threads computes 4 × 4 results: for every 64
 * multiplications it reads 8 vectors from workgroup memory, and threads that read at the same time read some of these vectors from the
 * same memory bank. These bank conflicts take most of the time. In the larger tiles, each thread computes {@link rowsOfThread} ×
 * {@link columnsOfThread} results, and the vectors that threads read at the same time are in different banks. Each result is the same sum
 * in the same order, so its bits are the same as with the smaller tiles.
 *
 * The code that reads the operands and writes the results is not changed: it comes from onnxruntime, or from a file such as
 * joint-steps.ts, which replaces a sequence of kernels.
 */

import type { Dispatch, Launch, Sequence } from './dispatch.js'

const rowsOfThread = 8
/** A multiple of 4, because results are written as vectors of 4 values. */
const columnsOfThread = 4

/** Threads along each side of a workgroup. */
const side = 8

/** Rows and columns of the results of a workgroup. */
const productTile = { rows: side * rowsOfThread, columns: side * columnsOfThread } as const

/** `depth`: how many vectors of each row are in workgroup memory at once. `pitch`: the distance of two rows there, in vectors. It is odd, so that rows begin in different banks. */
const [depth, pitch] = [4, 5] as const

const range = (count: number) => Array.from({ length: count }, (_, index) => index)

/**
 * WGSL of the loop over the inner axis, and of the code that writes the results. Of every 32 columns, thread x computes the columns 4 · x
 * … 4 · x + 3. `tile_b` in workgroup memory stores each column as a row; the rows of these four columns are `side` rows apart.
 */
function mainText(): string {
  const groups = range(columnsOfThread / 4)
  const parts = ['x', 'y', 'z', 'w'] as const
  const columns = groups.flatMap((group) => parts.map((part, index) => ({ group, part, row: (4 * group + index) * side })))
  const sums = range(rowsOfThread).flatMap((row) => groups.map((group) => ({ row, group, name: `acc${row}_${group}` })))
  const copy = (target: string, rows: number, place: string, read: string) =>
    `for (var i = local_idx; i < ${rows * depth}u; i += ${side * side}u) {
      let row = i / ${depth}u;
      let vector = i % ${depth}u;
      ${target}[${place}][vector] = ${read};
    }`
  return `let thread = local_id.xy;
  let first_row = logical_workgroup_id.y * ${productTile.rows}u;
  let first_column = logical_workgroup_id.x * ${productTile.columns}u;
  ${sums.map(({ name }) => `var ${name} = vec4<f32>(0);`).join('\n  ')}
  for (var start = 0u; start < uniforms.dim_inner; start += ${4 * depth}u) {
    ${copy('tile_a', productTile.rows, 'row', 'mm_readA(0, i32(first_row + row), i32(start / 4 + vector))')}
    ${copy('tile_b', productTile.columns, '(row / 32) * 32 + (row % 4) * 8 + row % 32 / 4', 'mm_readB(0, i32(first_column + row), i32(start / 4 + vector))')}
    workgroupBarrier();
    for (var k = 0u; k < ${depth}u; k++) {
      ${columns.map(({ row }, index) => `let b${index} = vec4<f32>(tile_b[thread.x + ${row}u][k]);`).join('\n      ')}
      ${range(rowsOfThread)
        .map((row) => {
          const products = columns.map(({ group, part }, index) => `acc${row}_${group}.${part} += dot(a${row}, b${index});`)
          return [`let a${row} = vec4<f32>(tile_a[thread.y + ${row * side}u][k]);`, ...products].join('\n      ')
        })
        .join('\n      ')}
    }
    workgroupBarrier();
  }
  ${sums
    .map(
      ({ name, row, group }) =>
        `mm_write(0, i32(first_row + thread.y + ${row * side}u), i32(first_column / 4 + thread.x + ${group * side}u), ${name});`,
    )
    .join('\n  ')}
}
`
}

/** The parts of Gemm's source that are replaced: the tiles in workgroup memory, and the code that computes with them. */
const tiles =
  /^var<workgroup> mm_Asub: array<array<vec4<(\w+)>, 8>, 32>;\nvar<workgroup> mm_Bsub: array<array<vec4<\w+>, 8>, 32>;$/m
const computation =
  /^  let localRow = i32\(local_id\.y\);\n[^]*^ *mm_write\(batch, globalRow \+ innerRow, globalCol, acc\[innerRow\]\);\n *\}\n+\}\n$/m
const workgroup = /^  let logical_workgroup_id_([xyz]) = .+;$/gm

const texts = new Map<string, string | undefined>()

/** The source of a Gemm, or of a sequence that begins with one, changed to larger tiles. Its grid has one workgroup for each {@link productTile}. Undefined if the source has an unknown form. */
function withLargerTiles(code: string): string | undefined {
  if (!texts.has(code)) texts.set(code, edit(code))
  return texts.get(code)
}

/** Where Gemm's uniforms hold the result's row and column counts and the workgroup counts of the three axes: indices of words. */
const [rowsWord, columnsWord] = [13, 14] as const
const gridWords = [16, 17, 18] as const

/** A Gemm that this library can replace: its bindings, uniforms and grid are as expected. */
interface Product extends Dispatch {
  readonly uniforms: NonNullable<Dispatch['uniforms']>
}

/** Whether a dispatch is a {@link Product}. */
export function isProduct(dispatch: Dispatch | undefined): dispatch is Product {
  const { kernel, uniforms, grid } = dispatch ?? {}
  return (
    kernel?.label === 'Gemm' &&
    /^a,b,(?:c,)?output$/.test(kernel.bindings) &&
    gridWords.map((word) => uniforms?.words[word]).join() === grid?.join()
  )
}

/** The rows and columns of a product's result. */
export function sizeOf({ uniforms: { words } }: Product): { readonly rows: number; readonly columns: number } {
  return { rows: words[rowsWord] ?? 0, columns: words[columnsWord] ?? 0 }
}

/** The fewest workgroups for which larger tiles are used. With fewer, the smaller tiles give more workgroups, which fill a GPU better. */
const leastWorkgroups = 64

/**
 * The source and the grid of a product, or of `count` products of the same size along the grid's third axis. Larger tiles are used if
 * there are enough of them to fill a GPU.
 */
export function inTiles(product: Product, code: string, count = 1): Pick<Launch, 'code' | 'grid'> {
  const { rows, columns } = sizeOf(product)
  const [x, y] = [Math.ceil(columns / productTile.columns), Math.ceil(rows / productTile.rows)]
  const larger = rows > productTile.rows / 2 && x * y * count >= leastWorkgroups ? withLargerTiles(code) : undefined
  return larger === undefined
    ? { code, grid: [product.grid[0], product.grid[1], count * product.grid[2]] }
    : { code: larger, grid: [x, y, count] }
}

/** Replaces a single Gemm by one with larger tiles, if these are enough to fill a GPU. */
export const largerProduct: Sequence = ([product, ...others]) => {
  if (!isProduct(product) || others.length > 0) return undefined
  const { code, grid } = inTiles(product, product.kernel.code)
  if (code === product.kernel.code) return undefined
  const bindings = [...product.storage, product.uniforms.binding]
  return { open: false, launch: { label: 'Gemm in larger tiles', code, grid, bindings } }
}

function edit(code: string): string | undefined {
  const known =
    tiles.test(code) && computation.test(code) && code.match(workgroup)?.length === 3 && code.includes('const tileInner = 32;')
  if (!known) return undefined
  return code
    .replace(
      tiles,
      (_, type) =>
        `var<workgroup> tile_a: array<array<vec4<${type}>, ${pitch}>, ${productTile.rows}>;\nvar<workgroup> tile_b: array<array<vec4<${type}>, ${pitch}>, ${productTile.columns}>;`,
    )
    .replaceAll(workgroup, '  let logical_workgroup_id_$1 = workgroup_id.$1;')
    .replace(computation, `  ${mainText()}`)
}
