#!/usr/bin/env bash
# Installs ftlight, fine-tunes a small sentence encoder on configs/support, predicts three messages.
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ftlight_install quickstart
ftlight=".venv/bin/python -m ftlight"
$ftlight fit --config configs/quickstart.yaml "$@"
run=runs/quickstart/latest
echo
for text in "it says delivered on tuesday but there was nothing at my door" \
  "please take the second lamp off my order and send it to my office instead" \
  "I sent the shoes back two weeks ago, when do I see the money?"; do
  $ftlight predict "$run" --text "$text"
done
cat <<END

now: source .venv/bin/activate
then: python -m ftlight predict $run --text "my discount code does not work"
      python -m ftlight init YOUR.csv > mine.yaml && python -m ftlight fit -c mine.yaml
END
