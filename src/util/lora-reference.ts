/** LoRAs as text: an address, then a colon and the weight unless it is 1. The `lora` attribute of `<aquatint-prompt>` has this form. */

/** Reads `owner/name:0.8` or `https://…/x.safetensors`. A number behind the last colon is the weight, unless it is the port of an address without a path. */
export function parseLoraReference(text: string): { readonly source: string; readonly weight: number } {
  const [, source = '', weight] = /^(.+):(-?\d+(?:\.\d+)?)$/s.exec(text) ?? []
  return weight === undefined || /^\w+:\/\/[^/]*$/.test(source) ? { source: text, weight: 1 } : { source, weight: Number(weight) }
}
