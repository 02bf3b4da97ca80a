"""Performs the steps of the engine: one folder for each way of waiting and sending."""
