// The keywords that Qt defines where QT_NO_KEYWORDS is not (qtmetamacros.h, qforeach.h).
#pragma once

#define signals public
#define slots
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
#define Q_SIGNALS public
#define Q_SLOTS
#define Q_EMIT
