-- PostgreSQL in compose.yaml runs this file when it creates its volume. MLflow has a database of its own: both have a table `secrets`.
CREATE DATABASE digits;
