/** The bound networks on one device: one for each network and kind of graph, made when a run first needs it. {@link ComponentHost} decides which of them are loaded. */

import type { GraphVariant } from '../../models/types.js'
import { bindNetwork, type Network } from '../bind-network.js'
import type { DTypeName } from '../types.js'
import type { Device } from '../../runtime/device.js'
import type { BoundNetwork } from '../../runtime/bound-network.js'

/** A component, and the name of the graph to run. */
export interface NamedGraph {
  readonly component: BoundNetwork
  readonly variant: string | undefined
}

function keyOf(network: string, variant: GraphVariant): string {
  return `${network} ${JSON.stringify(variant)}`
}

export class ComponentSet {
  readonly #dtype: DTypeName
  readonly #components = new Map<string, BoundNetwork>()
  /** Keys of components that few generations need. */
  readonly #rare = new Set<string>()
  /** The variants that leave blocks out, by the name of their graph. */
  readonly #variants = new Map<string, GraphVariant>()
  /** The version of the adapters that a component's graphs were written with. */
  readonly #adapters = new Map<BoundNetwork, string>()

  constructor(dtype: DTypeName) {
    this.#dtype = dtype
  }

  /**
   * The component of a network and a variant on `device`, made if there is none. A graph that leaves blocks out uses only weights of the
   * component without `skipLayers`, so it is another graph of this component.
   */
  get(network: Network, { skipLayers, ...variant }: GraphVariant, device: Device): NamedGraph {
    const version = network.adapters?.version ?? ''
    const name = skipLayers === undefined ? undefined : JSON.stringify({ skipLayers })
    if (name !== undefined) this.#variants.set(name, { skipLayers })
    const key = keyOf(network.name, variant)
    let component = this.#components.get(key)
    if (component === undefined) {
      component = bindNetwork(network, {
        device,
        dtype: this.#dtype,
        granularity: device.info.capabilities.granularity,
        variantOf: (named) => ({ ...variant, ...this.#variants.get(named) }),
      })
      this.#components.set(key, component)
      if (variant.hiddenStates !== undefined) this.#rare.add(key)
    }
    if ((this.#adapters.get(component) ?? version) !== version) component.forgetGraphs()
    this.#adapters.set(component, version)
    return { component, variant: name }
  }

  /** Unloads all components except those that `stays` accepts. */
  async unload(stays: (component: BoundNetwork) => boolean = () => false): Promise<void> {
    for (const component of this.#components.values()) if (component.isLoaded && !stays(component)) await component.unload()
  }

  /** Unloads the component of a network and a variant. */
  async unloadVariant(network: string, variant: GraphVariant): Promise<void> {
    await this.#components.get(keyOf(network, variant))?.unload()
  }

  /** Moves all components to another device, where they have no weights yet. */
  async moveTo(device: Device): Promise<void> {
    for (const component of this.#components.values()) await component.moveTo(device)
  }

  /** Disposes the components that few generations need. */
  async dropRare(): Promise<void> {
    for (const key of this.#rare) {
      const component = this.#components.get(key)
      if (component === undefined) continue
      await component.dispose()
      this.#adapters.delete(component)
      this.#components.delete(key)
    }
    this.#rare.clear()
  }

  /** Disposes all components. */
  async dispose(): Promise<void> {
    for (const component of this.#components.values()) await component.dispose()
    this.#components.clear()
    this.#adapters.clear()
    this.#rare.clear()
  }
}
