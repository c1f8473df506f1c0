/**
 * Bytes of one element of each type that safetensors files hold, by their safetensors names. UNKNOWN is every other type: no network reads its
 * tensors, and their bytes are never interpreted.
 */
export const dtypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
  UNKNOWN: 0,
}
