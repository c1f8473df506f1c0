/** For tests: the entry of the worker, with its compute pipelines counted. Not part of the library. */

// Its listeners are there when the script has run, so the page's first message is not lost.
import './testing-count-kernels.js'
import './engine.worker.js'
