/**
 * Setup of the browser tests that share one page: their GPU devices are lent from a pool. A software adapter takes a second to compile a
 * kernel, and onnxruntime keeps the kernels of a device for as long as one of its sessions lives, so each kernel is compiled once for all
 * tests rather than once for each pipeline. Tests that count kernels, lose a device or fill its memory are in
 * `*.isolated.browser.test.ts` and open devices of their own. Not part of the library.
 */
import { GraphBuilder } from '../../onnx/graph-builder.js'
import { add } from '../../onnx/ops-math.js'
import { loadOnnxRuntime, onnxruntimeLock } from '../onnxruntime.js'
import { replaceMethod } from './testing-gpu.js'

/** The devices that no test is using. */
const free: GPUDevice[] = []

replaceMethod(
  GPUAdapter.prototype,
  'requestDevice',
  (request) =>
    async function (this: GPUAdapter, descriptor) {
      // A test that requests a device itself needs other limits.
      if (descriptor?.label !== 'aquatint') return request.call(this, descriptor)
      const gpu = free.pop() ?? (await keepKernels(await request.call(this, descriptor)))
      // End the previous user's account of buffers.
      Reflect.deleteProperty(gpu, 'createBuffer')
      Reflect.deleteProperty(gpu.queue, 'submit')
      gpu.destroy = () => {
        gpu.destroy = () => undefined
        free.push(gpu)
      }
      return gpu
    },
)

/** The device, with a session on it that is never released: it keeps onnxruntime's kernels. */
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
