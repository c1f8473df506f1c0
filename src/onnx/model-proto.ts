/**
 * Encodes ONNX's ModelProto; it cannot read one. Field numbers are those of onnx.proto3 (IR version 10). The ops files compute shapes and
 * graph-builder.ts chooses names; this file turns the result into bytes.
 */

import { ProtobufWriter } from './protobuf.js'
import type { ElementType, ValueInfo } from './types.js'
import { elementCount } from '../util/element-count.js'

/** The value of a node's attribute. The kind is explicit because ONNX distinguishes integers and floats. */
export type Attribute =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'string'; readonly value: string }

/** One operator of a graph. An empty input name stands for an optional input that is left out. */
export interface GraphNode {
  readonly opType: string
  /** Empty for ONNX's own operators. */
  readonly domain: '' | 'com.microsoft'
  readonly name: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** A small constant inside the model. `data` is little-endian. */
export interface InlineTensor extends ValueInfo {
  readonly data: Uint8Array
}

/** A graph ready to be encoded. */
export interface GraphParts {
  readonly name: string
  readonly nodes: readonly GraphNode[]
  readonly constants: readonly InlineTensor[]
  /** Weights as external data: the location is the weight's name, and the offset is 0. */
  readonly externals: readonly ValueInfo[]
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
}

/** The values of TensorProto.DataType. */
const dataTypes: Readonly<Record<ElementType, number>> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10 }

const elementBytes: Readonly<Record<ElementType, number>> = { float32: 4, uint8: 1, int32: 4, int64: 8, bool: 1, float16: 2 }

/** The opset of ONNX's own operators. 21 has Gelu and LayerNormalization, and every kernel that onnxruntime-web 1.30 places on the GPU. */
const OPSET = 21
const IR_VERSION = 10

/** Returns the number of bytes of a tensor. */
export function byteLength(value: ValueInfo): number {
  return elementCount(value.dims) * elementBytes[value.type]
}

/** Encodes a ModelProto. Equal arguments give equal bytes. */
export function encodeModel(graph: GraphParts): Uint8Array<ArrayBuffer> {
  return new ProtobufWriter()
    .integer(1, IR_VERSION)
    .string(2, 'aquatint')
    .message(7, (proto) => writeGraphProto(proto, graph))
    .message(8, (opset) => opset.string(1, '').integer(2, OPSET))
    .message(8, (opset) => opset.string(1, 'com.microsoft').integer(2, 1))
    .finish()
}

function writeGraphProto(proto: ProtobufWriter, graph: GraphParts): void {
  for (const node of graph.nodes) proto.message(1, (inner) => writeNode(inner, node))
  proto.string(2, graph.name)
  for (const constant of graph.constants) {
    proto.message(5, (inner) => writeTensor(inner, constant).bytes(9, constant.data))
  }
  for (const weight of graph.externals) {
    proto.message(5, (inner) => {
      writeTensor(inner, weight)
      writeEntry(inner, 'location', weight.name)
      writeEntry(inner, 'offset', '0')
      writeEntry(inner, 'length', String(byteLength(weight)))
      inner.integer(14, 1)
    })
  }
  for (const input of graph.inputs) proto.message(11, (inner) => writeValue(inner, input))
  for (const output of graph.outputs) proto.message(12, (inner) => writeValue(inner, output))
}

function writeNode(proto: ProtobufWriter, node: GraphNode): void {
  for (const input of node.inputs) proto.string(1, input)
  for (const output of node.outputs) proto.string(2, output)
  proto.string(3, node.name).string(4, node.opType)
  for (const [name, attribute] of Object.entries(node.attributes)) {
    proto.message(5, (inner) => writeAttribute(inner.string(1, name), attribute))
  }
  if (node.domain !== '') proto.string(7, node.domain)
}

function writeAttribute(proto: ProtobufWriter, attribute: Attribute): void {
  switch (attribute.kind) {
    case 'float':
      proto.float(2, attribute.value).integer(20, 1)
      break
    case 'int':
      proto.integer(3, attribute.value).integer(20, 2)
      break
    case 'string':
      proto.string(4, attribute.value).integer(20, 3)
      break
    case 'ints':
      for (const value of attribute.value) proto.integer(8, value)
      proto.integer(20, 7)
  }
}

function writeTensor(proto: ProtobufWriter, tensor: ValueInfo): ProtobufWriter {
  return proto.packedIntegers(1, tensor.dims).integer(2, dataTypes[tensor.type]).string(8, tensor.name)
}

function writeEntry(proto: ProtobufWriter, key: string, value: string): void {
  proto.message(13, (entry) => entry.string(1, key).string(2, value))
}

function writeValue(proto: ProtobufWriter, value: ValueInfo): void {
  proto.string(1, value.name).message(2, (type) =>
    type.message(1, (tensor) =>
      tensor.integer(1, dataTypes[value.type]).message(2, (shape) => {
        for (const size of value.dims) shape.message(1, (dim) => dim.integer(1, size))
      }),
    ),
  )
}
