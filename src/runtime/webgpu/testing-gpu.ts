/** For browser tests: a GPU with little memory, and one whose losses are told late. Both are the real one in all else. Not part of the library. */

/** GPUTextureUsage.COPY_DST */
const copyTo = 0x2

/** Replaces a method for all objects of a class. Returns what puts the old one back. */
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

/** Devices opened while it stands refuse buffers that would take them over `limit` bytes, until {@link ScarceGpu.end}. */
export class ScarceGpu {
  /** Bytes that there are. A software adapter takes the machine's memory rather than refuse, so the end of it is set. */
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
            // As good as none: a command that uses it is an error. What is written from the start is in the host's memory.
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

  /** Bytes of the buffers there are. */
  get live(): number {
    return [...this.#live.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Gives the real GPU back. */
  end(): void {
    for (const undo of this.#undo) undo()
  }
}

/** Has the device itself report that it is out of memory: a quarter of a terabyte is over any. */
function refuse(device: GPUDevice): void {
  const { maxTextureDimension2D: edge, maxTextureArrayLayers: layers } = device.limits
  device.createTexture({ format: 'rgba32float', usage: copyTo, size: [edge, edge, layers] })
}

/** Devices opened while it stands learn of their loss when {@link LateNews.tell} is called, not before. */
export class LateNews {
  /** Lets all losses, those to come too, be known. */
  tell: () => void = () => {}
  /** Gives the real GPU back. */
  readonly end: () => void

  constructor() {
    const told = new Promise<void>((resolve) => {
      this.tell = resolve
    })
    this.end = replaceMethod(
      GPUAdapter.prototype,
      'requestDevice',
      (request) =>
        async function (this: GPUAdapter, descriptor) {
          const device = await request.call(this, descriptor)
          const { lost } = device
          Object.defineProperty(device, 'lost', { value: told.then(() => lost) })
          return device
        },
    )
  }
}
