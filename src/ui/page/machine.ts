/** Inspects what this browser and machine can do, and explains what limits the user. */

import { adapterName, type AdapterWords } from '../../util/adapter-name.js'
import { formatBytes } from '../../util/format-bytes.js'
import { processorThreads } from '../../util/processor-threads.js'
import { expiryNote, limitNote, readStorageRules, type StorageRules } from './storage-rules.js'

/** The capabilities of a machine. Some are not known in every browser. */
export interface Machine {
  /** `none`: no WebGPU; `page-only`: none in workers, where Aquatint computes; `software`: a fallback adapter only; `gpu`: a real one. */
  readonly gpu: 'none' | 'page-only' | 'software' | 'gpu'
  readonly gpuName: string
  readonly shaderF16: boolean
  /** Bytes of the largest buffer that a kernel can read. */
  readonly maxBufferSize: number
  /** Memory in GB as reported by the browser, which caps it at 8 or 32; undefined if not reported. */
  readonly memoryGb: number | undefined
  readonly cores: number
  /** How many threads the kernels of the CPU use. */
  readonly threads: number
  /** Whether IndexedDB can be used. */
  readonly storage: boolean
  /** The storage that this site may use, in bytes. `usage` is what it uses. */
  readonly quota: number | undefined
  readonly usage: number | undefined
  readonly rules: StorageRules
  /** Whether the page is in a frame of another site, where browsers use separate storage and delete it sooner. */
  readonly thirdPartyFrame: boolean
  readonly secureContext: boolean
  /** Whether the page is cross-origin isolated, without which no browser shares memory between threads. */
  readonly isolated: boolean
}

/** A limitation, explained to the user. */
export interface MachineNote {
  readonly code:
    | 'insecure'
    | 'no-webgpu'
    | 'no-worker-gpu'
    | 'software-adapter'
    | 'no-shader-f16'
    | 'small-buffers'
    | 'one-thread'
    | 'little-memory'
    | 'third-party-frame'
    | 'no-storage'
    | 'small-quota'
    | 'storage-expires'
    | 'storage-limit'
    | 'cannot-keep'
  readonly text: string
  /** Whether to show it on the page itself, or only in the panel. */
  readonly urgent: boolean
}

/** A GPU with smaller buffers, such as a phone's or one that the browser limits, refuses some weights of large models. */
const largeBuffer = 2 ** 30

const small = 'The bundled model works here, on the CPU.'

/** The notes for a machine, most important first. */
export function machineNotes(machine: Machine): readonly MachineNote[] {
  const notes: MachineNote[] = []
  const say = (code: MachineNote['code'], text: string, urgent = true) => void notes.push({ code, text, urgent })
  if (!machine.secureContext) {
    say(
      'insecure',
      `This page was loaded over plain HTTP, so the browser gives it no access to the GPU. ${small} To use the GPU, open the page over HTTPS or on localhost.`,
    )
  } else if (machine.gpu === 'none') {
    say(
      'no-webgpu',
      `This browser has no WebGPU, so large models would take hours. ${small} For the GPU, use a current Chrome or Edge, or turn on graphics acceleration.`,
    )
  } else if (machine.gpu === 'page-only') {
    say(
      'no-worker-gpu',
      `This browser has WebGPU, but not in workers, where Aquatint computes, so large models would take hours. ${small} For the GPU, use a current Chrome, Edge, Firefox or Safari.`,
    )
  } else if (machine.gpu === 'software') {
    say('software-adapter', `This browser emulates the GPU on the CPU, so large models would take hours. ${small}`)
  } else if (!machine.shaderF16) {
    say(
      'no-shader-f16',
      'This GPU has no 16-bit arithmetic (shader-f16): models run in float32, which takes twice the memory.',
      false,
    )
  }
  if (machine.gpu === 'gpu' && machine.maxBufferSize < largeBuffer) {
    say(
      'small-buffers',
      `The largest buffer of this GPU is ${formatBytes(machine.maxBufferSize)}, as on many phones: a model with a larger weight does not run on it.`,
      false,
    )
  }
  if (
    machine.gpu !== 'gpu' &&
    machine.threads < machine.cores &&
    !machine.isolated &&
    machine.secureContext &&
    !machine.thirdPartyFrame
  ) {
    say(
      'one-thread',
      'On this visit, models run on one thread of the CPU. After a reload they may use more, if this browser runs service workers.',
      false,
    )
  }
  if (machine.memoryGb !== undefined && machine.memoryGb <= 4) {
    say('little-memory', `This machine reports ${machine.memoryGb} GB of memory. Large models may not fit; the bundled one does.`)
  }
  if (!machine.storage) {
    say(
      'no-storage',
      'This browser stores nothing for this page. In a private window, or with blocked storage, models are downloaded again on every visit, and there is no gallery. Generating pictures works.',
    )
  } else if (machine.quota !== undefined && machine.usage !== undefined && machine.quota - machine.usage < 3e9) {
    say(
      'small-quota',
      'This page can store less than 3 GB more (a private window, or a full disk): large models may have to be downloaded again on the next visit.',
      false,
    )
  }
  const expiry = expiryNote(machine.rules)
  if (machine.storage && expiry !== undefined) say('storage-expires', expiry, false)
  const limit = limitNote(machine.rules)
  if (machine.storage && limit !== undefined) say('storage-limit', limit, false)
  if (machine.storage && !machine.rules.canAsk) {
    say(
      'cannot-keep',
      'This browser cannot be asked to keep downloaded models: it may delete them when the disk is nearly full.',
      false,
    )
  }
  if (machine.thirdPartyFrame) {
    say(
      'third-party-frame',
      'This page is embedded in another site. The browser stores its downloads separately from the page opened on its own, and may delete them sooner.',
      false,
    )
  }
  return notes
}

/** Inspects the machine. Never throws: a capability that cannot be determined counts as missing. */
export async function inspectMachine(): Promise<Machine> {
  const adapter = await findAdapter()
  const estimate = await (navigator.storage as StorageManager | undefined)?.estimate().catch(() => undefined)
  return {
    gpu: adapter === undefined ? 'none' : !(await workersHaveGpu()) ? 'page-only' : adapter.isFallback ? 'software' : 'gpu',
    gpuName: adapter?.name ?? '',
    shaderF16: adapter?.shaderF16 ?? false,
    maxBufferSize: adapter?.maxBufferSize ?? 0,
    memoryGb: (navigator as Navigator & { readonly deviceMemory?: number }).deviceMemory,
    cores: navigator.hardwareConcurrency,
    threads: processorThreads(),
    storage: await canStore(),
    quota: estimate?.quota,
    usage: estimate?.usage,
    rules: await readStorageRules(),
    thirdPartyFrame: isThirdPartyFrame(),
    secureContext: isSecureContext,
    isolated: crossOriginIsolated,
  }
}

/** Does not call the runtime's `requestAdapter`: that is worker code, which the page downloads only when it first loads a model. */
async function findAdapter(): Promise<
  { name: string; isFallback: boolean; shaderF16: boolean; maxBufferSize: number } | undefined
> {
  try {
    const adapter = await (navigator as Navigator & { readonly gpu?: Gpu }).gpu?.requestAdapter({
      powerPreference: 'high-performance',
    })
    if (adapter === undefined || adapter === null) return undefined
    const { info, limits } = adapter
    return {
      name: adapterName(info),
      isFallback: info.isFallbackAdapter ?? false,
      shaderF16: adapter.features.has('shader-f16'),
      // A kernel reads a weight through one binding, so the smaller limit decides, as in the runtime.
      maxBufferSize: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
    }
  } catch {
    return undefined
  }
}

/** Whether a worker has WebGPU, too. True where no worker can be started, because then nothing is known. */
function workersHaveGpu(): Promise<boolean> {
  return new Promise((resolve) => {
    const url = URL.createObjectURL(new Blob([`postMessage('gpu' in navigator)`], { type: 'text/javascript' }))
    const settle = (found: boolean) => {
      URL.revokeObjectURL(url)
      resolve(found)
    }
    try {
      const worker = new Worker(url)
      worker.addEventListener('error', () => settle(true))
      worker.addEventListener('message', ({ data }: MessageEvent<boolean>) => {
        worker.terminate()
        settle(data)
      })
    } catch {
      settle(true)
    }
  })
}

/** The part of the WebGPU API that is used here. TypeScript's DOM types do not declare WebGPU. */
interface Gpu {
  requestAdapter(options: { powerPreference: 'high-performance' }): Promise<{
    readonly info: AdapterWords & { readonly isFallbackAdapter?: boolean }
    readonly features: ReadonlySet<string>
    readonly limits: { readonly maxBufferSize: number; readonly maxStorageBufferBindingSize: number }
  } | null>
}

function canStore(): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open('aquatint-probe')
      request.addEventListener('success', () => {
        request.result.close()
        indexedDB.deleteDatabase('aquatint-probe')
        resolve(true)
      })
      request.addEventListener('error', () => resolve(false))
    } catch {
      resolve(false)
    }
  })
}

function isThirdPartyFrame(): boolean {
  if (window.top === window) return false
  // Reading the location of an ancestor of another origin throws.
  try {
    return window.top?.location.origin !== location.origin
  } catch {
    return true
  }
}
