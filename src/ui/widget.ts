/** What a site's one script tag loads: `element.js`, a name without a hash in front of files that have one. */

import './element.js'
