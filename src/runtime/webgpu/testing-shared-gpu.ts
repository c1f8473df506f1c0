/**
 * GPU devices that browser tests share: a software adapter takes up to a second to compile a kernel, and onnxruntime keeps the kernels of a device
 * for as long as one of its sessions lives. With shared devices each kernel is compiled once for all tests of a page rather than once for each
 * pipeline. Tests that count kernels, lose a device or fill its memory open devices of their own: `*.isolated.browser.test.ts`,
 * `*.chromium.browser.test.ts` and smoke.browser.test.ts. Not part of the library.
 */
import { afterAll, beforeAll } from 'vitest'
import { GraphBuilder } from '../../onnx/graph-builder.js'
import { add } from '../../onnx/ops-math.js'
import { loadOnnxRuntime, onnxruntimeLock } from '../onnxruntime.js'
import { replaceMethod } from './testing-gpu.js'

/** Devices that no test uses at the moment. */
const free: GPUDevice[] = []

/**
 * Makes the tests of the calling file share their devices with the tests of other files: `dispose()` makes the device available to the
 * next test. The uniform buffers that onnxruntime keeps with the kernels, a few kilobytes, count only in the memory account of the test
 * that made them.
 */
export function shareGpuDevices(): void {
  let end: (() => void) | undefined
  beforeAll(() => {
    end = replaceMethod(
      GPUAdapter.prototype,
      'requestDevice',
      (request) =>
        async function (this: GPUAdapter, descriptor) {
          const gpu = free.pop() ?? (await keepKernels(await request.call(this, descriptor)))
          // Remove the methods by which the previous test's device counted memory and replaced kernels.
          Reflect.deleteProperty(gpu, 'createBuffer')
          Reflect.deleteProperty(gpu, 'createShaderModule')
          Reflect.deleteProperty(gpu.queue, 'submit')
          gpu.destroy = () => {
            gpu.destroy = () => undefined
            free.push(gpu)
          }
          return gpu
        },
    )
  })
  afterAll(() => end?.())
}

/** Opens a session on the device and never releases it, so that onnxruntime keeps the device's kernels. */
async function keepKernels(gpu: GPUDevice): Promise<GPUDevice> {
  const runtime = await loadOnnxRuntime('webgpu')
  const graph = new GraphBuilder({ dtype: 'float32', weights: 'input', granularity: 'component' })
  const x = graph.input('x', 'float32', [1])
  graph.output('y', add(graph, x, x))
  const { model } = graph.finish('kept')
  await onnxruntimeLock.run(async () =>
    runtime.InferenceSession.create(model, {
      executionProviders: [{ name: 'webgpu', device: gpu, storageBufferCacheMode: 'disabled', validationMode: 'wgpuOnly' }],
      preferredOutputLocation: 'gpu-buffer',
      logSeverityLevel: 3,
    }),
  )
  return gpu
}
