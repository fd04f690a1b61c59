"""What an operator asks a running process over HTTP: is it alive, is it ready, how does it do."""
