/**
 * Writes the part of Protocol Buffers' wire format that ONNX needs: varints, 32-bit floats and length-delimited fields.
 * model-proto.ts defines ONNX's messages with it.
 */

const encoder = new TextEncoder()

/** Appends protobuf fields to a growing buffer. Also writes fields with proto3's default values, because ONNX is proto2. */
export class ProtobufWriter {
  #bytes = new Uint8Array(64)
  #view = new DataView(this.#bytes.buffer)
  #length = 0

  /** Writes a signed or unsigned integer below 2^53 in magnitude (int64, int32, enum). */
  integer(field: number, value: number): this {
    this.#varint(field << 3)
    this.#varint(value)
    return this
  }

  /** Writes integers without tags, as a packed repeated field. */
  packedIntegers(field: number, values: readonly number[]): this {
    return this.message(field, (inner) => {
      for (const value of values) inner.#varint(value)
    })
  }

  /** Writes a 32-bit float. */
  float(field: number, value: number): this {
    this.#varint((field << 3) | 5)
    this.#reserve(4)
    this.#view.setFloat32(this.#length, value, true)
    this.#length += 4
    return this
  }

  string(field: number, value: string): this {
    // A UTF-16 code unit takes at most three bytes in UTF-8.
    return this.#delimited(field, value.length * 3, () => {
      this.#length += encoder.encodeInto(value, this.#bytes.subarray(this.#length)).written
    })
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint((field << 3) | 2)
    this.#varint(value.length)
    this.#reserve(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
    return this
  }

  /** Writes a nested message, whose fields `write` appends. */
  message(field: number, write: (inner: ProtobufWriter) => void): this {
    return this.#delimited(field, 0, () => write(this))
  }

  /** Returns a copy of the bytes written so far. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length)
  }

  /**
   * Writes a field whose length is known only after `write` has appended its content. `most`: how many bytes to reserve for the content
   * before `write` runs.
   */
  #delimited(field: number, most: number, write: () => void): this {
    this.#varint((field << 3) | 2)
    this.#reserve(most + 1)
    const start = ++this.#length
    write()
    const size = this.#length - start
    const extra = varintLength(size) - 1
    // Reserves the bytes by which the content is shifted, and ten more: if `#varint` reallocated the buffer, it would lose the content.
    this.#reserve(extra + 10)
    if (extra > 0) this.#bytes.copyWithin(start + extra, start, this.#length)
    this.#length = start - 1
    this.#varint(size)
    this.#length += size
    return this
  }

  #varint(value: number): void {
    this.#reserve(10)
    if (value < 0) {
      // Negative integers are sign-extended to 64 bits: ten bytes.
      let rest = BigInt.asUintN(64, BigInt(value))
      while (rest > 0x7fn) {
        this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80
        rest >>= 7n
      }
      this.#bytes[this.#length++] = Number(rest)
      return
    }
    while (value > 0x7f) {
      this.#bytes[this.#length++] = (value % 0x80) | 0x80
      value = Math.floor(value / 0x80)
    }
    this.#bytes[this.#length++] = value
  }

  #reserve(extra: number): void {
    if (this.#length + extra <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + extra))
    larger.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = larger
    this.#view = new DataView(larger.buffer)
  }
}

/** How many bytes the varint of a non-negative integer takes. */
function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) length++
  return length
}
