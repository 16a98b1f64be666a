"""What tests share: sockets, namespaces, samples, the program in a terminal, other tools."""
