from collector.lean import import_leanly

import_leanly()
