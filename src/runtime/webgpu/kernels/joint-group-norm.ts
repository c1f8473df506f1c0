/**
 * The operations after the statistics of a group norm, as one dispatch: InstanceNorm, factors, summands, SiLU, and the Transpose to channels last before a convolution or
 * tokens. `groupNorm` of models/layers is the only place that writes InstanceNormalization, and nothing else reads the results in between
 * (models/group-norms.test.ts).
 */

import { permutation } from './channels-last-weights.js'
import { bufferAt, overlap, type Dispatch, type Match, type Sequence } from './dispatch.js'

/** The sizes of an image [batch, channels, pixels]. */
interface Size {
  readonly batch: number
  readonly channels: number
  readonly pixels: number
}

/**
 * The beginning of both kernels: the bindings, a function that joins InstanceNorm, Mul and Add into one factor and one summand for each
 * channel, and a function that applies SiLU. Both compute in float32.
 */
function header(type: string, storedX: string, storedY: string, silu: boolean): string {
  return `${type === 'f16' ? 'enable f16;\n' : ''}@group(0) @binding(0) var<storage, read> x: array<${storedX}>;
@group(0) @binding(1) var<storage, read> scale_shift: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<${type}>;
@group(0) @binding(3) var<storage, read> bias: array<${type}>;
@group(0) @binding(4) var<storage, read_write> y: array<${storedY}>;
// The beginnings of the uniforms of onnxruntime's InstanceNorm, [batch, groups, 1], and Mul, [batch, channels, height, width].
struct Groups { shape: vec3<u32> };
struct Image { shape: vec4<u32> };
@group(0) @binding(5) var<uniform> groups: Groups;
@group(0) @binding(6) var<uniform> image: Image;

fn factors(batch: u32, channel: u32) -> vec2<f32> {
  let group = batch * groups.shape.y + channel / (image.shape.y / groups.shape.y);
  let norm = scale_shift[group];
  let factor = f32(weight[channel]);
  return vec2<f32>(norm.x * factor, norm.y * factor + f32(bias[channel]));
}
fn activate(value: ${storedX.startsWith('vec4') ? 'vec4<f32>' : 'f32'}) -> ${storedX.startsWith('vec4') ? 'vec4<f32>' : 'f32'} {
  return ${silu ? 'value / (1 + exp(-value))' : 'value'};
}
`
}

/**
 * Computes y from x, both [batch, channels, pixels / 4] in vectors of 4 values; each of a workgroup's 64 threads computes one vector.
 * Memory accesses take nearly all of this kernel's time.
 */
function inPlaceText(type: string, silu: boolean): string {
  return `${header(type, `vec4<${type}>`, `vec4<${type}>`, silu)}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let at = (group.y * count.x + group.x) * 64 + thread;
  let pixels = image.shape.z * image.shape.w / 4;
  if (at >= image.shape.x * image.shape.y * pixels) { return; }
  let row = at / pixels;
  let by = factors(row / image.shape.y, row % image.shape.y);
  y[at] = vec4<${type}>(activate(vec4<f32>(x[at]) * by.x + by.y));
}
`
}

/**
 * Computes y [batch, pixels, channels] from x [batch, channels, pixels]. A workgroup of 256 threads transposes a tile of 16 × 16 values in workgroup
 * memory, so that neighbouring threads read and write neighbouring values. Memory accesses take nearly all of this kernel's time.
 */
function transposedText(type: string, silu: boolean): string {
  return `${header(type, type, type, silu)}
var<workgroup> tile: array<array<f32, 17>, 16>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) thread: vec3<u32>) {
  let pixels = image.shape.z * image.shape.w;
  let channels = image.shape.y;
  let pixel = group.x * 16 + thread.x;
  let channel = group.y * 16 + thread.y;
  if (pixel < pixels && channel < channels) {
    let by = factors(group.z, channel);
    tile[thread.y][thread.x] = activate(f32(x[(group.z * channels + channel) * pixels + pixel]) * by.x + by.y);
  }
  workgroupBarrier();
  let to_pixel = group.x * 16 + thread.y;
  let to_channel = group.y * 16 + thread.x;
  if (to_pixel < pixels && to_channel < channels) {
    y[(group.z * pixels + to_pixel) * channels + to_channel] = ${type}(tile[thread.x][thread.y]);
  }
}
`
}

/** Whether a dispatch combines an image with a value for each channel. `operation` is the operation in the kernel's text. */
function isByChannel({ kernel, uniforms }: Dispatch, label: string, operation: string, image: string): boolean {
  const { words } = uniforms ?? {}
  return (
    kernel.label === label &&
    kernel.bindings === 'input_a,input_b,output' &&
    kernel.code.includes('let b = input_b_value_t(input_b[offset_b]);') &&
    kernel.code.includes(`output[global_idx]=a ${operation} b;`) &&
    words?.length === 24 &&
    words.subarray(0, 4).join() === image &&
    words.subarray(8, 12).join() === image &&
    words.subarray(16, 19).join() === `${words[1]},1,1`
  )
}

const one = new Uint32Array(new Float32Array([1]).buffer)[0]

/** SiLU: QuickGelu with alpha 1. */
function isSilu({ kernel, uniforms }: Dispatch): boolean {
  return kernel.label === 'QuickGelu' && kernel.bindings === 'x,y' && uniforms?.words[1] === one
}

/** Whether a dispatch moves the channels of an image to the last axis. */
function isToChannelsLast({ kernel, uniforms }: Dispatch, { batch, channels, pixels }: Size): boolean {
  const axes = kernel.label === 'Transpose' && kernel.bindings === 'a,output' ? permutation(kernel) : undefined
  if (axes === undefined || uniforms === undefined) return false
  const dims = [...uniforms.words.subarray(0, axes.length)]
  const order = axes.filter((axis) => dims[axis] !== 1)
  const sorted = order.toSorted((a, b) => a - b)
  // The axis of the channels is between those of the batch and of the pixels in the input, and must be the last one of the result.
  let before = batch === 1 ? 0 : 1
  if (batch !== 1 && (order[0] !== sorted[0] || dims[order[0] ?? 0] !== batch)) before = -1
  const [channel] = sorted.slice(before, before + 1)
  if (before < 0 || channel === undefined || dims[channel] !== channels) return false
  const others = sorted.filter((axis) => axis !== channel)
  const count = others.slice(before).reduce((product, axis) => product * (dims[axis] ?? 0), 1)
  return count === pixels && order.join() === [...others, channel].join()
}

/** Recognizes the dispatches of a group norm: InstanceNorm, Mul and Add, and the SiLU and the Transpose that may follow. */
export const jointGroupNorm: Sequence = (held) => {
  const [norm, product, sum, ...more] = held
  if (norm?.kernel.label !== 'InstanceNorm' || norm.kernel.bindings !== 'input,channel_scale_shift,output') return undefined
  if (!/input: array<vec4<f(?:16|32)>>;/.test(norm.kernel.code)) return undefined
  const [batch, groups, , , , , , , outBatch, outGroups, outLength] = norm.uniforms?.words ?? []
  if (batch === undefined || groups === undefined || outLength === undefined || batch !== outBatch || groups !== outGroups)
    return undefined
  if (product === undefined) return { open: true }
  const image = [...(product.uniforms?.words.subarray(0, 4) ?? [])]
  const [imageBatch, channels = 0, height = 0, width = 0] = image
  const size = { batch, channels, pixels: height * width }
  if (imageBatch !== batch || channels % groups !== 0 || size.pixels % 4 !== 0) return undefined
  if ((channels / groups) * size.pixels !== 4 * outLength) return undefined
  if (!isByChannel(product, 'Mul', '*', image.join()) || bufferAt(product, 0) !== bufferAt(norm, 2)) return undefined
  if (sum === undefined) return { open: true }
  if (!isByChannel(sum, 'Add', '+', image.join()) || bufferAt(sum, 0) !== bufferAt(product, 2)) return undefined
  const silu = more[0] !== undefined && isSilu(more[0]) && bufferAt(more[0], 0) === bufferAt(sum, 2) ? more[0] : undefined
  const [transposition, ...beyond] = silu === undefined ? more : more.slice(1)
  if (transposition !== undefined) {
    const last = silu ?? sum
    const isLast = bufferAt(transposition, 0) === bufferAt(last, silu === undefined ? 2 : 1)
    if (beyond.length > 0 || !isLast || !isToChannelsLast(transposition, size)) return undefined
  }
  return launch({ norm, product, sum, silu, transposition }, size)
}

interface Parts {
  readonly norm: Dispatch
  readonly product: Dispatch
  readonly sum: Dispatch
  readonly silu: Dispatch | undefined
  readonly transposition: Dispatch | undefined
}

function launch({ norm, product, sum, silu, transposition }: Parts, { batch, channels, pixels }: Size): Match | undefined {
  const open = transposition === undefined
  const type = norm.kernel.code.includes('input: array<vec4<f16>>') ? 'f16' : 'f32'
  const [x, scaleShift] = norm.storage
  const [weight, bias] = [product.storage[1], sum.storage[1]]
  const y = transposition?.storage[1] ?? silu?.storage[1] ?? sum.storage[2]
  const [own, image] = [norm.uniforms?.binding, product.uniforms?.binding]
  if (x === undefined || scaleShift === undefined || weight === undefined || bias === undefined) return undefined
  if (y === undefined || own === undefined || image === undefined) return undefined
  if (overlap([x, scaleShift, weight, bias], [y])) return { open }
  const bindings = [x, scaleShift, weight, bias, y, own, image]
  if (transposition !== undefined) {
    const grid = [Math.ceil(pixels / 16), Math.ceil(channels / 16), batch] as const
    return {
      open,
      launch: { label: 'GroupNorm to channels last', code: transposedText(type, silu !== undefined), bindings, grid },
    }
  }
  const workgroups = Math.ceil((batch * channels * pixels) / 256)
  const rows = Math.ceil(workgroups / 65_535)
  const grid = [Math.ceil(workgroups / rows), rows, 1] as const
  return { open, launch: { label: 'GroupNorm', code: inPlaceText(type, silu !== undefined), bindings, grid } }
}
