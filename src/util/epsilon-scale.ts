/**
 * What an epsilon in the place of a bias is multiplied by, for a GPU's kernel of InstanceNormalization: float16 has few digits for numbers as small as
 * 1e-6, and a GPU may take them for 0.
 */
export const epsilonScale = 4096
