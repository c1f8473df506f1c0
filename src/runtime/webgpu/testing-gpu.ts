/**
 * For browser tests: makes the real GPU behave as if it had little memory, or makes it report its losses late. Not part of the library.
 */

/** GPUTextureUsage.COPY_DST */
const copyTo = 0x2

/** Replaces a method for all objects of a class. Returns a function that restores it. */
export function replaceMethod<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  by: (original: T[K]) => T[K],
): () => void {
  const original = prototype[name]
  prototype[name] = by(original)
  return () => {
    prototype[name] = original
  }
}

/** Devices that are opened while it exists refuse buffers that would exceed `limit` bytes, until {@link ScarceGpu.end}. */
export class ScarceGpu {
  /** The memory in bytes. Tests need this limit, because a software adapter uses the machine's memory and refuses nothing. */
  limit = Number.POSITIVE_INFINITY
  /** Buffers that were refused. */
  refusals = 0
  readonly #live = new Map<GPUBuffer, number>()
  readonly #undo: readonly (() => void)[]

  constructor() {
    const live = this.#live
    const isFull = (bytes: number) => this.live + bytes > this.limit && ++this.refusals > 0
    this.#undo = [
      replaceMethod(
        GPUDevice.prototype,
        'createBuffer',
        (create) =>
          function (this: GPUDevice, descriptor) {
            const full = isFull(descriptor.size)
            if (full) refuse(this)
            const buffer = create.call(this, descriptor)
            // A full GPU returns an invalid buffer. This class destroys the buffer instead: commands that use it fail too. A buffer that is
            // mapped at creation is not destroyed, because its mapping is in host memory and the caller writes to it.
            if (full && descriptor.mappedAtCreation !== true) buffer.destroy()
            else live.set(buffer, descriptor.size)
            return buffer
          },
      ),
      replaceMethod(
        GPUBuffer.prototype,
        'destroy',
        (destroy) =>
          function (this: GPUBuffer) {
            live.delete(this)
            return destroy.call(this)
          },
      ),
    ]
  }

  /** The bytes of the existing buffers. */
  get live(): number {
    return [...this.#live.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Restores the real GPU. */
  end(): void {
    for (const undo of this.#undo) undo()
  }
}

/** Makes the device itself report that it is out of memory, by requesting a texture of a quarter of a terabyte. */
function refuse(device: GPUDevice): void {
  const { maxTextureDimension2D: edge, maxTextureArrayLayers: layers } = device.limits
  device.createTexture({ format: 'rgba32float', usage: copyTo, size: [edge, edge, layers] })
}

/** Devices that are opened while it exists report their loss only when {@link LateLosses.report} is called. */
export class LateLosses {
  /** Reports all losses, including later ones. */
  report: () => void = () => {}
  /** Resolves when the browser has reported the first loss. */
  readonly happened: Promise<void>
  /** Restores the real GPU. */
  readonly end: () => void

  constructor() {
    const first = new EventTarget()
    this.happened = new Promise((resolve) => first.addEventListener('loss', () => resolve(), { once: true }))
    const reported = new Promise<void>((resolve) => {
      this.report = resolve
    })
    this.end = replaceMethod(
      GPUAdapter.prototype,
      'requestDevice',
      (request) =>
        async function (this: GPUAdapter, descriptor) {
          const device = await request.call(this, descriptor)
          const { lost } = device
          void lost.then(() => first.dispatchEvent(new Event('loss')))
          Object.defineProperty(device, 'lost', { value: reported.then(() => lost) })
          return device
        },
    )
  }
}
