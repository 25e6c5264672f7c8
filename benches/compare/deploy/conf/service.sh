#!/bin/sh
# service start|stop: starts or stops the Tomcat of $SLOT. A start removes the compiled pages, as a new release does.
cd ROOT || exit 1
pid=$(cat "pid.$SLOT" 2>/dev/null)
runs() { [ -n "$pid" ] && [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; }
case "$1" in
start)
    if runs; then
        echo "$SLOT runs already"
        exit 1
    fi
    rm -rf "$SLOT/work" && mkdir "$SLOT/work" || exit 1
    setsid "./run.$SLOT" >>"log.$SLOT" 2>&1 </dev/null &
    echo $! >"pid.$SLOT"
    ;;
stop)
    runs && kill "$pid"
    for _ in $(seq 200); do
        runs || break
        sleep 0.05
    done
    if runs; then kill -9 "$pid"; fi
    rm -f "pid.$SLOT"
    ;;
esac
