/** Networks: models with their weights, and how one is bound to a device. This file joins models/ and runtime/, which do not import each other. */

import type { Config, SafetensorsDType, WeightTable } from '../checkpoint/types.js'
import { DeviceError } from '../errors.js'
import { matchWeights, quantizedWeights } from '../models/match-weights.js'
import type { GraphVariant, NetworkDefinition, NetworkModel } from '../models/types.js'
import type { Adapters, ComponentGraph, WriteOptions, Shapes } from '../onnx/types.js'
import { BoundNetwork } from '../runtime/bound-network.js'
import type { NetworkAdapters } from './network-adapters.js'
import type { DTypeName, QuantizationName } from './types.js'
import type { WeightPlan } from '../memory/plan.js'
import type { Device } from '../runtime/device.js'

/** A network of a checkpoint, read and not yet on a device. */
export interface Network<Model extends NetworkModel = NetworkModel> {
  /** The component's name in the pipeline, such as `unet`. */
  readonly name: string
  /** The network's class and config. */
  readonly model: Model
  readonly table: WeightTable
  /** The repository that the network was loaded from, to be shown to the user. */
  readonly repo: string
  /** The type that the network computes in; undefined: the pipeline's. */
  readonly dtype?: DTypeName | undefined
  /** How its Linear weights are quantized. */
  readonly quantization?: QuantizationName | undefined
  /** The network's adapters, whose `table` contains the network's weights. Absent: the network can have no adapters. */
  readonly adapters?: NetworkAdapters | undefined
}

/** The config of a network, as its class reads it. @throws TypeError where the network is of another class */
export function configOf<NetworkConfig>(
  network: Network,
  definition: {
    readonly className: string
    readonly fromConfig: (config: Config) => NetworkModel & { readonly config: NetworkConfig }
  },
): NetworkConfig {
  if (!isOfClass(network, definition))
    throw new TypeError(`${network.name} is of class ${network.model.className}, not ${definition.className}.`)
  return network.model.config
}

function isOfClass<Model extends NetworkModel>(
  network: Network,
  definition: { readonly className: string; readonly fromConfig: (config: Config) => Model },
): network is Network<Model> {
  return network.model.className === definition.className
}

/** Whether a network has this role. */
export function hasRole<Role extends NetworkModel['role']>(
  network: Network,
  role: Role,
): network is Network<Extract<NetworkModel, { readonly role: Role }>> {
  return network.model.role === role
}

/** Small shapes that a model's graph can be written for: enough to check its config and its weights before anything runs. */
export function probeShapes(model: NetworkModel): Shapes {
  return model.shapes(model.smallest)
}

/**
 * Creates a class's model from a config. Configs that cannot be run are refused here, before any weights are downloaded.
 * @throws UnsupportedError `unsupported-config`; CheckpointError `invalid-config`
 */
export function readModel(definition: NetworkDefinition, config: Config): NetworkModel {
  const model = definition.fromConfig(config)
  model.write(probeShapes(model), { dtype: 'float32', weights: 'input', granularity: 'block' })
  return model
}

/** The type to compute in: the one in which most bytes of a table are stored. */
export function storedType(table: WeightTable): DTypeName {
  const bytes = new Map<SafetensorsDType, number>()
  for (const { dtype, begin, end } of table.values()) bytes.set(dtype, (bytes.get(dtype) ?? 0) + end - begin)
  const [most] = [...bytes].toSorted((a, b) => b[1] - a[1])
  return most === undefined || most[0] === 'F32' || most[0] === 'F64' ? 'float32' : 'float16'
}

/** The layers of a model that can have branches of adapters, with the shapes of their weights. */
export function adaptableLayers(model: NetworkModel): ReadonlyMap<string, readonly number[]> {
  const found = new Map<string, readonly number[]>()
  const adapters: Adapters = (layer, weight) => {
    found.set(layer, weight)
    return []
  }
  model.write(probeShapes(model), { dtype: 'float32', weights: 'input', granularity: 'block', adapters })
  return found
}

export interface BindOptions {
  readonly device: Device
  readonly dtype: DTypeName
  readonly granularity: WriteOptions['granularity']
  /** How the network's weights are loaded; undefined: all of them stay on the device. */
  readonly plan?: WeightPlan | undefined
  /** Returns the graph variant with this name. A run names the variant that it uses; the empty name is the plain graph. */
  readonly variantOf: (name: string) => GraphVariant
}

/** Binds a network to a device. For each new set of shapes its graph is written and matched with its weights. */
export function bindNetwork(network: Network, options: BindOptions): BoundNetwork {
  const { name, model, table, adapters } = network
  const graph = (shapes: Shapes, _device: Device, variant = ''): ComponentGraph => {
    const written = model.write(shapes, graphOptions(network, options), options.variantOf(variant))
    const [bound] = matchWeights(model, [written], table).graphs
    if (bound === undefined) throw new DeviceError('no-graph', `No graph was written for ${name}.`, { component: name })
    return bound
  }
  return new BoundNetwork({
    name,
    device: options.device,
    table,
    graph,
    shapes: probeShapes(model),
    plan: options.plan,
    ownInputs: () => adapters?.inputs ?? {},
  })
}

/** The options with which a network's graphs are written for a device. */
export function graphOptions(
  { model, table, dtype: own, adapters }: Pick<Network, 'model' | 'table' | 'dtype' | 'adapters'>,
  { device, dtype, granularity }: Pick<BindOptions, 'dtype' | 'granularity'> & { readonly device: Pick<Device, 'writeOptions'> },
): WriteOptions {
  const options = device.writeOptions({ dtype: model.upcast ? 'float32' : (own ?? dtype), granularity })
  return { ...options, quantized: quantizedWeights(model, table), adapters: adapters?.branches }
}

/** The names of a network's tensors that are no parameter of its class. @throws CheckpointError where a parameter is missing or does not match */
export function unexpectedTensors({ model, table }: Pick<Network, 'model' | 'table'>): readonly string[] {
  const graph = model.write(probeShapes(model), {
    dtype: 'float32',
    weights: 'input',
    granularity: 'block',
    quantized: quantizedWeights(model, table),
  })
  return matchWeights(model, [graph], table).unexpected
}
