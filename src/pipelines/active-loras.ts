/**
 * Which LoRAs of a component are active, layer by layer. Layers can differ after a removal: as in peft, a layer that has lost its last
 * active LoRA gets another LoRA that changes it. Source: peft's `BaseTunerLayer.set_adapter` and `delete_adapter`.
 */

/** The names of the layers that each loaded LoRA changes in the component, by the name of the LoRA. */
export type LayersOfLoras = ReadonlyMap<string, Iterable<string>>

/** The active LoRAs of one component. */
export class ActiveLoras {
  /** By layer, the names of its active LoRAs in their order. As in peft, a name counts as active also in layers that its LoRA does not change. */
  readonly #names = new Map<string, readonly string[]>()

  /** Makes these LoRAs the active ones of all layers, in this order. */
  activate(names: readonly string[], loaded: LayersOfLoras): void {
    this.#names.clear()
    for (const layers of loaded.values()) for (const layer of layers) this.#names.set(layer, names)
  }

  /**
   * Removes a LoRA. `others`: the LoRAs that are left. A layer whose only active LoRA was removed gets the first of `others`, in the order
   * of their names, that changes the layer.
   */
  remove(removed: string, others: LayersOfLoras): void {
    const first = new Map<string, string>()
    for (const name of [...others.keys()].toSorted().toReversed())
      for (const layer of others.get(name) ?? []) first.set(layer, name)
    for (const [layer, names] of this.#names) {
      if (!names.includes(removed)) continue
      const left = names.filter((name) => name !== removed)
      const next = first.get(layer)
      this.#names.set(layer, left.length > 0 || next === undefined ? left : [next])
    }
  }

  /** The names of all LoRAs that are active in at least one layer, in their order. */
  get names(): readonly string[] {
    return [...new Set([...this.#names.values()].flat())]
  }

  /** Whether a LoRA is active in a layer. */
  isActive(name: string, layer: string): boolean {
    return this.#names.get(layer)?.includes(name) === true
  }
}
